//! A command line for `aws kms`, in the order and with the whole names that clap takes: flags of the aws command stand
//! before `kms`, before the verb or after it, and any flag may be abbreviated as long as it is clear which is meant.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Arg;

use super::{globals, verb};
use crate::kms::api::{self, Operation, RE_ENCRYPT};

/// What `re-encrypt` is called once it is known to be of a blob, as AWS's is, and not of files.
pub(super) const RE_ENCRYPT_BLOB: &str = "re-encrypt-blob";

/// The words that stand before `kms` or the verb and belong to global flags.
struct Leading {
    /// How many words.
    count: usize,
    version: bool,
}

/// A command line of `rekeyfs kms` as clap takes it; any other as it is.
pub(in crate::cli::args) fn as_kms_takes_it(line: Vec<OsString>) -> Vec<OsString> {
    let Some((program, words)) = line.split_first() else { return line };
    let before = leading(words);
    if words.get(before.count).is_none_or(|word| word != "kms") {
        return line;
    }
    let (globals, words) = words.split_at(before.count);
    let kms = &words[0];
    let more = leading(&words[1..]);
    let (more_globals, words) = words[1..].split_at(more.count);
    if before.version || more.version || has_version(words) {
        return vec![program.clone(), "--version".into()];
    }
    let Some((verb, rest)) = words.split_first() else {
        // There is no verb: clap says so, and what verbs there are.
        return [program, kms].into_iter().cloned().collect();
    };
    let of_blob = verb == "re-encrypt" && rest.iter().any(is_of_blob);
    let name = if of_blob { RE_ENCRYPT_BLOB.into() } else { verb.clone() };
    let mut whole = vec![program.clone(), kms.clone(), name];
    if rest.iter().any(|word| word == "help") && rest.len() == 1 {
        whole.push("--help".into());
        return whole;
    }
    let operation = if of_blob {
        Some(&RE_ENCRYPT)
    } else {
        verb.to_str().and_then(|verb| api::operations().find(|operation| operation.verb() == verb))
    };
    let given = globals.iter().chain(more_globals).chain(rest);
    match operation {
        Some(operation) => {
            let known = Flags::of(operation);
            whole.extend(given.scan(true, |flags, word| Some(known.in_full(word, flags))));
        }
        None if verb.as_bytes().starts_with(b"-") || verb == "help" => whole.extend(rest.iter().cloned()),
        None => whole.extend(given.cloned()),
    }
    whole
}

/// Whether a word is a flag that only AWS's `re-encrypt` has: the blob, or what may stand for all parameters.
fn is_of_blob(word: &OsString) -> bool {
    let name = word.to_str().and_then(|word| word.strip_prefix("--")).unwrap_or_default();
    let name = name.split('=').next().unwrap_or_default();
    let mut flags = verb::FOR_ALL_PARAMETERS.iter().chain(&["ciphertext-blob"]);
    name.len() > 1 && flags.any(|flag| flag.starts_with(name))
}

/// Global flags with their values, up to the first word that is none.
fn leading(words: &[OsString]) -> Leading {
    let (mut count, mut version) = (0, false);
    while let Some(flag) = words.get(count).and_then(|word| word.to_str()?.strip_prefix("--")) {
        let (name, has_value) = flag.split_once('=').map_or((flag, false), |(name, _)| (name, true));
        version |= name == "version";
        match globals::takes_value(name) {
            Some(true) if !has_value => count += 2,
            Some(_) => count += 1,
            None if name == "version" => count += 1,
            None => break,
        }
    }
    Leading { count: count.min(words.len()), version }
}

/// Whether the version is asked for, which stands for the whole command. A value never begins so.
fn has_version(words: &[OsString]) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == "--version")
}

/// The flags of a verb.
struct Flags {
    /// Those that the aws command has.
    of_aws: Vec<String>,
    /// Those of rekeyfs alone: they are written in full, and what they begin with stays free for AWS's.
    own: Vec<String>,
}

impl Flags {
    fn of(operation: &'static Operation) -> Self {
        let own = verb::own_flags(operation);
        let command = verb::command(operation);
        let all = command.get_arguments().filter_map(Arg::get_long);
        let of_aws = all.filter(|flag| !own.iter().any(|own| own == flag)).map(str::to_owned).collect();
        Self { of_aws, own }
    }

    /// A word with the whole name of the flag that it abbreviates. `flags` is false once `--` has ended them.
    fn in_full(&self, word: &OsString, flags: &mut bool) -> OsString {
        *flags &= word != "--";
        let whole = || -> Option<OsString> {
            let typed = word.as_bytes().strip_prefix(b"--").filter(|_| *flags)?;
            let end = typed.iter().position(|byte| *byte == b'=').unwrap_or(typed.len());
            let (name, value) = typed.split_at(end);
            let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
            Some(OsString::from_vec([b"--", self.meant(name)?.as_bytes(), value].concat()))
        };
        whole().unwrap_or_else(|| word.clone())
    }

    /// The one flag of the aws command that this is the beginning of, if it is no whole name.
    fn meant(&self, name: &str) -> Option<&str> {
        if self.of_aws.iter().chain(&self.own).any(|flag| flag == name) {
            return None;
        }
        let mut begin_so = self.of_aws.iter().filter(|flag| flag.starts_with(name));
        begin_so.next().filter(|_| begin_so.next().is_none()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let words = line.split_whitespace().map(OsString::from).collect();
        let words: Vec<String> =
            as_kms_takes_it(words).into_iter().map(|w| w.into_string().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn flags_of_the_aws_command_stand_anywhere() {
        for (line, whole) in [
            ("r kms list-keys --region eu-west-1", "r kms list-keys --region eu-west-1"),
            ("r --region x kms list-keys", "r kms list-keys --region x"),
            (
                "r --output=text kms --no-cli-pager --query Keys list-keys --limit 1",
                "r kms list-keys --output=text --no-cli-pager --query Keys --limit 1",
            ),
            ("r kms --profile list-keys list-aliases", "r kms list-aliases --profile list-keys"),
            ("r kms create-key help", "r kms create-key --help"),
            ("r kms --debug help", "r kms help"),
            ("r --version kms list-keys", "r --version"),
            ("r kms list-keys --version", "r --version"),
            ("r kms --region x", "r kms"),
            ("r kms --region", "r kms"),
            ("r --region x mount v m", "r --region x mount v m"),
            ("r mount kms m", "r mount kms m"),
            ("r kms re-encrypt f --destination-key-id k", "r kms re-encrypt f --destination-key-id k"),
            (
                "r kms re-encrypt --ciph fileb://b --destination-k k",
                "r kms re-encrypt-blob --ciphertext-blob fileb://b --destination-key-id k",
            ),
            ("r kms --output text re-encrypt f", "r kms re-encrypt --output text f"),
        ] {
            assert_eq!(rewritten(line), whole, "{line}");
        }
    }

    #[test]
    fn flags_are_abbreviated_as_long_as_it_is_clear_which_is_meant() {
        for (line, whole) in [
            ("r kms describe-key --key k", "r kms describe-key --key-id k"),
            ("r kms describe-key --key=k --out text", "r kms describe-key --key-id=k --output text"),
            (
                "r kms create-alias --alias a --target k",
                "r kms create-alias --alias-name a --target-key-id k",
            ),
            ("r kms create-key --desc d --no-m", "r kms create-key --description d --no-multi-region"),
            // Two begin so.
            ("r kms create-key --key x", "r kms create-key --key x"),
            ("r kms describe-key --keyfile k", "r kms describe-key --keyfile k"),
            ("r kms describe-key --key-id x -- --key", "r kms describe-key --key-id x -- --key"),
            ("r kms describe-key --vault v", "r kms describe-key --vault v"),
        ] {
            assert_eq!(rewritten(line), whole, "{line}");
        }
    }
}
