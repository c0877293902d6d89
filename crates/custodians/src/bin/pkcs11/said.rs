//! What tokens say, in the protocol's words.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use rekeyfs_custodians::{Kind, Refusal};

/// The refusal for an error of what is called `object`.
pub(super) fn refusal(object: &str, error: &Error) -> Refusal {
    let Error::Pkcs11(code, function) = error else {
        return Refusal::new(Kind::Internal, format!("{object}: {error}"));
    };
    let kind = match (code, function) {
        // So says SoftHSM2 of what another key encrypted, or for something else.
        (RvError::GeneralError | RvError::FunctionFailed, Function::Decrypt) => Kind::Damaged,
        // So ends AES-GCM of NSS, whose library leaves the tag out of the length that it tells.
        (RvError::BufferTooSmall, Function::Encrypt) => Kind::Unsupported,
        _ => kind(*code),
    };
    Refusal::new(kind, format!("{object}: {code:?} ({function})"))
}

fn kind(code: RvError) -> Kind {
    use RvError as Rv;
    match code {
        // A network HSM that can't be reached says that its device is broken.
        Rv::DeviceError
        | Rv::DeviceRemoved
        | Rv::TokenNotPresent
        | Rv::TokenNotRecognized
        | Rv::SessionClosed => Kind::Offline,
        Rv::SessionCount | Rv::DeviceMemory => Kind::Busy,
        Rv::PinIncorrect => Kind::Pin,
        Rv::PinLocked
        | Rv::PinExpired
        | Rv::UserNotLoggedIn
        | Rv::UserPinNotInitialized
        | Rv::KeyFunctionNotPermitted
        | Rv::ActionProhibited => Kind::Denied,
        Rv::FunctionCanceled => Kind::NeedsUser,
        Rv::KeyHandleInvalid | Rv::ObjectHandleInvalid => Kind::NotFound,
        Rv::EncryptedDataInvalid | Rv::EncryptedDataLenRange => Kind::Damaged,
        Rv::FunctionNotSupported
        | Rv::KeySizeRange
        | Rv::KeyTypeInconsistent
        | Rv::MechanismInvalid
        | Rv::MechanismParamInvalid => Kind::Unsupported,
        _ => Kind::Internal,
    }
}
