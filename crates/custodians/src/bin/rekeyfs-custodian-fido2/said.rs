//! What the programs of fido2-tools say of what went wrong, in the protocol's words.

use rekeyfs_custodians::{Ended, Kind, Refusal, Tool};

/// Runs one of the programs.
pub(super) fn run(tool: Tool, input: &[u8]) -> Result<Ended, Refusal> {
    tool.run(input).map_err(|refusal| match refusal.kind() {
        kind @ Kind::Missing => Refusal::new(kind, format!("{}; install fido2-tools", refusal.message())),
        _ => refusal,
    })
}

/// Errors of CTAP2 and libfido2 that mean something here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Code {
    PinInvalid,
    PinAuthBlocked,
    PinBlocked,
    PinNotSet,
    PinRequired,
    PinPolicy,
    Unauthorized,
    Touch,
    Refused,
    NoCredentials,
    Unsupported,
    Full,
    Busy,
    Gone,
}

/// Their names, as `fido_strerr` has them.
const NAMES: [(&str, Code); 24] = [
    ("FIDO_ERR_PIN_INVALID", Code::PinInvalid),
    ("FIDO_ERR_PIN_AUTH_BLOCKED", Code::PinAuthBlocked),
    ("FIDO_ERR_PIN_BLOCKED", Code::PinBlocked),
    ("FIDO_ERR_PIN_NOT_SET", Code::PinNotSet),
    ("FIDO_ERR_PIN_REQUIRED", Code::PinRequired),
    ("FIDO_ERR_PIN_POLICY_VIOLATION", Code::PinPolicy),
    ("FIDO_ERR_PIN_AUTH_INVALID", Code::Unauthorized),
    ("FIDO_ERR_UNAUTHORIZED_PERM", Code::Unauthorized),
    ("FIDO_ERR_ACTION_TIMEOUT", Code::Touch),
    ("FIDO_ERR_USER_ACTION_TIMEOUT", Code::Touch),
    ("FIDO_ERR_USER_ACTION_PENDING", Code::Touch),
    ("FIDO_ERR_KEEPALIVE_CANCEL", Code::Touch),
    ("FIDO_ERR_TIMEOUT", Code::Touch),
    ("FIDO_ERR_OPERATION_DENIED", Code::Refused),
    ("FIDO_ERR_NOT_ALLOWED", Code::Refused),
    ("FIDO_ERR_NO_CREDENTIALS", Code::NoCredentials),
    ("FIDO_ERR_INVALID_CREDENTIAL", Code::NoCredentials),
    ("FIDO_ERR_UNSUPPORTED_OPTION", Code::Unsupported),
    ("FIDO_ERR_UNSUPPORTED_EXTENSION", Code::Unsupported),
    ("FIDO_ERR_INVALID_OPTION", Code::Unsupported),
    ("FIDO_ERR_KEY_STORE_FULL", Code::Full),
    ("FIDO_ERR_CHANNEL_BUSY", Code::Busy),
    ("FIDO_ERR_TX", Code::Gone),
    ("FIDO_ERR_RX", Code::Gone),
];

/// The error that a program ended with, if it is one of these. The name is the last word of its last line.
pub(super) fn code(ended: &Ended) -> Option<Code> {
    code_of(ended.last_error())
}

fn code_of(line: &str) -> Option<Code> {
    let name = line.rsplit(' ').next()?;
    NAMES.iter().find_map(|(known, code)| (*known == name).then_some(*code))
}

/// The refusal for what a program ended with while `doing`.
pub(super) fn refusal(doing: &str, ended: &Ended) -> Refusal {
    let (kind, cause) = match code(ended) {
        Some(Code::PinInvalid) => (Kind::Pin, "it is wrong"),
        Some(Code::PinAuthBlocked) => (
            Kind::Denied,
            "the FIDO2 key takes no PIN after several wrong ones; unplug it, plug it in again, and give the right one",
        ),
        Some(Code::PinBlocked) => return blocked(),
        Some(Code::PinNotSet | Code::PinRequired | Code::Unauthorized) => {
            (Kind::WrongState, "whether the FIDO2 key wants its PIN has changed since the slot was made")
        }
        Some(Code::PinPolicy) => {
            (Kind::Denied, "the FIDO2 key wants a new PIN first (`fido2-token -C DEVICE`)")
        }
        Some(Code::Touch) => (Kind::NeedsUser, "nobody touched the FIDO2 key in time"),
        Some(Code::Refused) => (Kind::Denied, "the FIDO2 key refused"),
        Some(Code::NoCredentials) => (Kind::NotFound, "this FIDO2 key isn't the slot's"),
        Some(Code::Unsupported) => {
            (Kind::Unsupported, "the FIDO2 key doesn't do that with these pin and touch")
        }
        Some(Code::Full) => (Kind::Denied, "the FIDO2 key is full"),
        Some(Code::Busy) => (Kind::Busy, "another program uses the FIDO2 key"),
        Some(Code::Gone) => (Kind::Offline, "the FIDO2 key doesn't answer any more; plug it in again"),
        None if ended.last_error().contains("fido_dev_open") => {
            (Kind::Offline, "the FIDO2 key can't be opened: it was unplugged, or another program has it")
        }
        None => (Kind::Internal, ended.last_error()),
    };
    Refusal::new(kind, format!("{doing}: {cause}"))
}

/// The refusal for a PIN that isn't even tried any more.
pub(super) fn blocked() -> Refusal {
    let cause = "the FIDO2 key's PIN is blocked after too many wrong ones; only a reset makes it usable again, and that takes the \
                 slot's credential with it";
    Refusal::new(Kind::Denied, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_as_a_whole_and_at_the_end() {
        assert_eq!(
            code_of("fido2-assert: fido_dev_get_assert: FIDO_ERR_PIN_INVALID"),
            Some(Code::PinInvalid)
        );
        assert_eq!(code_of("fido2-assert: fido_dev_get_assert: FIDO_ERR_RX_NOT_CBOR"), None);
        assert_eq!(code_of("fido2-assert: FIDO_ERR_PIN_INVALID is what I say"), None);
        assert_eq!(code_of(""), None);
    }
}
