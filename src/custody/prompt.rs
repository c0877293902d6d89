//! Questions that a helper has for the person who unlocks.

use zeroize::Zeroizing;

/// What a helper wants of a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PromptKind {
    /// A PIN or passphrase.
    Pin,
    /// To touch a device: nothing is entered.
    Touch,
    /// Yes or no.
    Confirm,
}

/// Where a person can be asked.
pub trait Prompt {
    /// Asks. The text is a helper's, made printable. The answer is a PIN, `yes` or `no`, or empty for a touch, for which
    /// this returns at once; none if nobody answers.
    fn ask(&mut self, kind: PromptKind, text: &str) -> Option<Zeroizing<String>>;

    /// Whether there is anybody: helpers are told so that they don't ask in vain.
    fn interactive(&self) -> bool {
        true
    }

    /// Whether a PIN that the helper has stored was refused before: it isn't to try that again, and asks for one.
    fn types_pin(&self) -> bool {
        false
    }
}

/// Where nobody can be asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct NobodyAnswers;

impl Prompt for NobodyAnswers {
    fn ask(&mut self, _: PromptKind, _: &str) -> Option<Zeroizing<String>> {
        None
    }

    fn interactive(&self) -> bool {
        false
    }
}
