//! What may be asked for on behalf of whom. Keys are administered on behalf of `admin` only; a user uses them, as far as their
//! policies go (data/mod.rs). Who asks for itself on the control socket is the vault's owner or root, and administers it.

use super::error::{KmsError, KmsErrorName};
use super::request::Call;
use crate::events::Principal;

impl Call {
    /// Whether it may be asked for on behalf of this principal. Whether a key's policy allows its use is another question.
    ///
    /// # Errors
    /// `AccessDeniedException`.
    pub fn allowed_to(&self, principal: Principal) -> Result<(), KmsError> {
        match principal {
            Principal::Admin => Ok(()),
            Principal::User(_) if self.uses_data() => Ok(()),
            Principal::User(_) => {
                let action = format!("kms:{}", self.operation());
                Err(KmsError::denied(&principal.to_string(), &action, "*"))
            }
        }
    }
}

impl KmsError {
    pub(super) fn denied(who: &str, action: &str, resource: &str) -> Self {
        Self::new(
            KmsErrorName::AccessDeniedException,
            format!(
                "User: {who} is not authorized to perform: {action} on resource: {resource} because no resource-based policy \
                 allows the {action} action"
            ),
        )
    }
}
