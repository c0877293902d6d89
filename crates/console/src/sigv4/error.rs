//! Why a request is refused, with AWS's names and words.

/// Why a request isn't taken for its signer's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SignatureError {
    /// There is none.
    #[error("Missing Authentication Token")]
    Missing,
    /// It can't be checked as it stands.
    #[error("{0}")]
    Incomplete(String),
    /// It names no access key that is known, or a session token.
    #[error("The security token included in the request is invalid.")]
    Unrecognized,
    /// It is for another day, region or service, or too old or too new.
    #[error("{0}")]
    OutOfScope(String),
    /// It isn't the secret's.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
         and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

impl SignatureError {
    /// The name that AWS has for it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::Unrecognized => "UnrecognizedClientException",
            Self::OutOfScope(_) | Self::Mismatch => "InvalidSignatureException",
        }
    }
}
