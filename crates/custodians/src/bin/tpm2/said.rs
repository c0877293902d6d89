//! What a TPM says, in the protocol's words.

use rekeyfs_custodians::{Kind, Refusal};
use tss_esapi::Error;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind as Code;

/// The refusal for an error while `doing`.
pub(super) fn refusal(doing: &str, error: &Error) -> Refusal {
    let Error::Tss2Error(said) = error else {
        return Refusal::new(Kind::Internal, format!("{doing}: {error}"));
    };
    let (kind, cause) = match said.kind() {
        Some(Code::PolicyFail) => (Kind::WrongState, "the TPM's registers aren't what they were"),
        Some(Code::AuthFail | Code::BadAuth) => (Kind::Pin, "it is wrong"),
        Some(Code::Lockout) => (
            Kind::Denied,
            "the TPM takes no PIN after too many wrong ones; wait for it to recover, or `tpm2_dictionarylockout --clear-lockout`",
        ),
        Some(Code::Integrity | Code::Size | Code::Type | Code::Value) => (Kind::Damaged, "it was changed"),
        Some(Code::ObjectMemory | Code::SessionMemory | Code::ObjectHandles | Code::SessionHandles) => {
            (Kind::Busy, "the TPM's memory is full")
        }
        Some(Code::Retry | Code::Testing | Code::Yielded | Code::NvRate | Code::NvUnavailable) => {
            (Kind::Busy, "the TPM has other work")
        }
        _ => return Refusal::new(Kind::Internal, format!("{doing}: {error}")),
    };
    Refusal::new(kind, format!("{doing}: {cause}"))
}
