//! Imported key material at the command line: wrapped here, so that it never reaches the daemon in the clear.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::cli::args::kms::ImportKeyMaterial;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::secrets;
use crate::crypto::import::{self, Oaep};
use crate::kms::Call;
use crate::unlock::Secret;

/// The call for material and token as they were given: base64 both, from files if need be.
pub(super) fn call(args: &ImportKeyMaterial) -> Outcome<Call> {
    let blob_of =
        |value: &Option<String>| value.as_deref().map(blob).transpose().map(Option::unwrap_or_default);
    Ok(Call::ImportKeyMaterial {
        key_id: args.key.key_id.clone(),
        import_token: blob_of(&args.import_token)?,
        encrypted_key_material: blob_of(&args.encrypted_key_material)?,
        expiration_model: args.expiration_model.clone(),
        valid_to: args.valid_to.clone(),
        import_type: args.import_type.clone(),
    })
}

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

/// Bytes as the AWS CLI takes them, in base64: a file of them (`fileb://`), a file of base64 (`file://`), or
/// base64.
fn blob(value: &str) -> Outcome<String> {
    let unread = |path: &str, error: std::io::Error| Failure::new(Exit::Usage, path, error);
    if let Some(path) = value.strip_prefix("fileb://") {
        return std::fs::read(path).map(|bytes| BASE64.encode(bytes)).map_err(|error| unread(path, error));
    }
    if let Some(path) = value.strip_prefix("file://") {
        let text = std::fs::read_to_string(path).map_err(|error| unread(path, error))?;
        return Ok(text.split_whitespace().collect());
    }
    Ok(value.to_owned())
}
