//! Imported key material at the command line: wrapped here, so that it never reaches the daemon in the clear.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::secrets;
use crate::crypto::import::{self, Oaep};
use crate::kms::Call;
use crate::unlock::Secret;

/// Puts token and wrapped material of a file of 32 bytes into a call, with parameters that `ask` gets.
///
/// # Errors
/// If the file can't be read or has another length; the errors of `ask`.
pub(super) fn wrap_file(file: &Path, call: &mut Call, ask: impl FnOnce(&Call) -> Outcome<Value>) -> Outcome {
    let Call::ImportKeyMaterial { key_id, import_token, encrypted_key_material, .. } = call else {
        return Ok(());
    };
    let Secret::KeyFile(material) = secrets::read_key_file(file)? else { return Ok(()) };
    let parameters = ask(&Call::GetParametersForImport {
        key_id: key_id.clone(),
        wrapping_algorithm: "RSAES_OAEP_SHA_256".to_owned(),
        wrapping_key_spec: "RSA_3072".to_owned(),
    })?;
    let field = |name: &str| parameters[name].as_str().unwrap_or_default().to_owned();
    let public = BASE64.decode(field("PublicKey")).unwrap_or_default();
    let wrapped = import::wrap(&public, Oaep::Sha256, &material).map_err(|error| {
        Failure::new(Exit::Other, file.display(), format!("it can't be wrapped for the import: {error}"))
    })?;
    *import_token = field("ImportToken");
    *encrypted_key_material = BASE64.encode(wrapped);
    Ok(())
}
