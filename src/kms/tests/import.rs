//! Imported material through the interface, with real RSA.
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;
use crate::crypto::import::{Oaep, wrap};
use crate::crypto::keys::KeyMaterial;

const DAY: i64 = 86_400_000;

fn material(byte: u8) -> KeyMaterial {
    KeyMaterial::from_bytes(&[byte; 32])
}

fn name_of<T>(result: Result<T, CallError>) -> Option<KmsErrorName> {
    result.err().map(|error| KmsError::of(error).unwrap().name)
}

struct Imported {
    f: Fixture,
    keys: Arc<Keys>,
    id: String,
}

impl Imported {
    fn new() -> Self {
        let f = Fixture::new();
        let keys = f.create(&[&key_file(1)]).keys;
        let key = NewKey { origin: Some("EXTERNAL".into()), ..NewKey::default() };
        let made = keys.call(&Call::CreateKey { key }).unwrap()["KeyMetadata"].clone();
        assert_eq!((&made["Origin"], &made["KeyState"]), (&json!("EXTERNAL"), &json!("PendingImport")));
        let id = made["KeyId"].as_str().unwrap().to_owned();
        Self { f, keys, id }
    }

    fn parameters(&self, algorithm: &str) -> (String, Vec<u8>) {
        let call = Call::GetParametersForImport {
            key_id: self.id.clone(),
            wrapping_algorithm: algorithm.into(),
            wrapping_key_spec: "RSA_2048".into(),
        };
        let got = self.keys.call(&call).unwrap();
        assert_eq!(got["ParametersValidTo"], json!(self.f.clock.now().0 as f64 / 1000.0 + 86_400.0));
        let text = |field: &str| got[field].as_str().unwrap().to_owned();
        (text("ImportToken"), BASE64.decode(text("PublicKey")).unwrap())
    }

    fn call(&self, token: &str, wrapped: &[u8], valid_to: Option<String>, kind: Option<&str>) -> Call {
        let model = if valid_to.is_some() { "KEY_MATERIAL_EXPIRES" } else { "KEY_MATERIAL_DOES_NOT_EXPIRE" };
        Call::ImportKeyMaterial {
            key_id: self.id.clone(),
            import_token: token.into(),
            encrypted_key_material: BASE64.encode(wrapped),
            expiration_model: Some(model.into()),
            valid_to,
            import_type: kind.map(str::to_owned),
            key_material_id: None,
        }
    }

    fn import(&self, byte: u8, valid_to: Option<String>, kind: Option<&str>) -> Result<Value, CallError> {
        let (token, public) = self.parameters("RSAES_OAEP_SHA_256");
        let wrapped = wrap(&public, Oaep::Sha256, &[byte; 32]).unwrap();
        self.keys.call(&self.call(&token, &wrapped, valid_to, kind))
    }

    fn state(&self) -> Value {
        self.keys.call(&Call::DescribeKey { key_id: self.id.clone() }).unwrap()["KeyMetadata"].clone()
    }
}

#[test]
fn material_of_another_id_than_was_named_is_refused() {
    let i = Imported::new();
    let of = |byte: u8| data_encoding::HEXLOWER.encode(&material(byte).material_id(i.id.parse().unwrap()));
    let import = |named: &str| {
        let (token, public) = i.parameters("RSAES_OAEP_SHA_256");
        let wrapped = wrap(&public, Oaep::Sha256, &[9; 32]).unwrap();
        let mut call = i.call(&token, &wrapped, None, None);
        if let Call::ImportKeyMaterial { key_material_id, .. } = &mut call {
            *key_material_id = Some(named.to_owned());
        }
        i.keys.call(&call)
    };
    let name = |named: &str| KmsError::of(import(named).unwrap_err()).unwrap().name;
    assert_eq!(name(&of(8)), KmsErrorName::IncorrectKeyMaterialException);
    assert_eq!(name("x"), KmsErrorName::ValidationException);
    assert_eq!(i.state()["KeyState"], "PendingImport");
    assert_eq!(import(&of(9)).unwrap()["KeyMaterialId"], of(9));
}

#[test]
fn material_comes_in_wrapped_and_wraps_as_any_other() {
    let i = Imported::new();
    let done = i.import(9, None, None).unwrap();
    assert_eq!(
        (&i.state()["KeyState"], &i.state()["ExpirationModel"]),
        (&json!("Enabled"), &json!("KEY_MATERIAL_DOES_NOT_EXPIRE"))
    );
    let id: KeyId = i.id.parse().unwrap();
    assert_eq!(done["KeyMaterialId"], data_encoding::HEXLOWER.encode(&material(9).material_id(id)));
    let again = Imported::new();
    assert_ne!(again.import(9, None, None).unwrap()["KeyMaterialId"], done["KeyMaterialId"], "another key");
    let (file, dek) = (FileId::random(), Dek::generate());
    let wrapped = i.keys.begin_wrap_key(id).unwrap().wrap(file, Suite::Aes256Gcm, &dek);
    let reopened = i.f.open(&key_file(1)).unwrap().keys;
    let backing = reopened.current_of(id).unwrap();
    let opened = reopened.unwrap(backing, file, Suite::Aes256Gcm, Format::CURRENT, &wrapped).unwrap();
    assert_eq!(print_of(&opened), print_of(&dek));
    let enable = Call::EnableKeyRotation { key_id: i.id.clone(), rotation_period_in_days: None };
    assert_eq!(name_of(i.keys.call(&enable)), Some(KmsErrorName::UnsupportedOperationException));
}

#[test]
fn tokens_and_ciphertexts_that_are_not_right_are_told_apart() {
    let i = Imported::new();
    let (token, public) = i.parameters("RSAES_OAEP_SHA_1");
    let right = wrap(&public, Oaep::Sha1, &[1; 32]).unwrap();
    let wrong_hash = wrap(&public, Oaep::Sha256, &[1; 32]).unwrap();
    let refused = |call: &Call| name_of(i.keys.call(call)).unwrap();
    for wrapped in [&wrong_hash[..], &right[1..], &[][..]] {
        assert_eq!(refused(&i.call(&token, wrapped, None, None)), KmsErrorName::InvalidCiphertextException);
    }
    let mut bent = BASE64.decode(&token).unwrap();
    bent[40] ^= 1;
    for token in ["", "AAAA", &BASE64.encode(bent), &Imported::new().parameters("RSAES_OAEP_SHA_1").0] {
        let call = i.call(token, &right, None, None);
        assert_eq!(refused(&call), KmsErrorName::InvalidImportTokenException);
    }
    for valid_to in ["yesterday", "1000", "100000000", "2027-13-01", "99999999999"] {
        let call = i.call(&token, &right, Some(valid_to.into()), None);
        assert_eq!(refused(&call), KmsErrorName::ValidationException, "{valid_to}");
    }
    let other = i.call(&token, &right, None, Some("SOME_KEY_MATERIAL"));
    assert_eq!(refused(&other), KmsErrorName::ValidationException);
    assert_eq!(i.state()["KeyState"], "PendingImport");
    i.f.clock.0.fetch_add(DAY, Ordering::Relaxed);
    assert_eq!(refused(&i.call(&token, &right, None, None)), KmsErrorName::ExpiredImportTokenException);
    let (token, public) = i.parameters("RSAES_OAEP_SHA_1");
    let right = wrap(&public, Oaep::Sha1, &[1; 32]).unwrap();
    i.keys.call(&i.call(&token, &right, None, None)).unwrap();
}

#[test]
fn what_has_expired_is_deleted_when_it_is_looked_at_and_when_the_vault_is_opened() {
    let i = Imported::new();
    let id: KeyId = i.id.parse().unwrap();
    let ends = |after: i64| Some(((i.f.clock.now().0 + after) / 1000).to_string());
    i.import(1, ends(10 * DAY), None).unwrap();
    assert_eq!(i.state()["ValidTo"], json!(1000.0 + 864_000.0));
    assert!(i.keys.expire_due().unwrap().is_empty());
    i.f.clock.0.fetch_add(10 * DAY, Ordering::Relaxed);
    let generation = i.keys.generation().0;
    assert_eq!(i.keys.expire_due().unwrap(), [id]);
    assert_eq!(i.keys.generation().0, generation + 2, "twice, so that the old one has it not");
    assert_eq!(i.state()["KeyState"], "PendingImport");
    assert!(matches!(i.keys.begin_wrap_key(id), Err(KeyError::NotUsable { .. })));
    assert_eq!(name_of(i.import(2, None, None)), Some(KmsErrorName::IncorrectKeyMaterialException));
    i.import(1, ends(5 * DAY), None).unwrap();
    i.f.clock.0.fetch_add(5 * DAY, Ordering::Relaxed);
    let reopened = i.f.open(&key_file(1)).unwrap().keys;
    let info = reopened.keys().into_iter().find(|info| info.id == id).unwrap();
    assert_eq!((info.state, info.versions[0].has_material), (KeyState::PendingImport, false));
}

#[test]
fn deleted_material_comes_back_by_itself_alone_and_rotations_are_listed() {
    let i = Imported::new();
    let first = i.import(1, None, None).unwrap()["KeyMaterialId"].clone();
    i.import(2, None, Some("NEW_KEY_MATERIAL")).unwrap();
    let list = || {
        let materials = Materials::All;
        let call = Call::ListKeyRotations { key_id: i.id.clone(), materials, page: Page::default() };
        let listed = i.keys.call(&call).unwrap()["Rotations"].clone();
        let field = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        let both = |e: &Value| (field(e, "KeyMaterialState"), field(e, "ImportState"));
        listed.as_array().unwrap().iter().map(both).collect::<Vec<_>>()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(list(), [pair("PENDING_ROTATION", "IMPORTED"), pair("CURRENT", "IMPORTED")]);
    i.keys.call(&Call::RotateKeyOnDemand { key_id: i.id.clone() }).unwrap();
    assert_eq!(list(), [pair("CURRENT", "IMPORTED"), pair("NON_CURRENT", "IMPORTED")]);
    let delete = |id: Option<&Value>| {
        let key_material_id = id.map(|id| id.as_str().unwrap().to_owned());
        i.keys.call(&Call::DeleteImportedKeyMaterial { key_id: i.id.clone(), key_material_id })
    };
    assert_eq!(delete(Some(&first)).unwrap()["KeyMaterialId"], first);
    assert_eq!(list()[1], pair("NON_CURRENT", "PENDING_IMPORT"));
    assert_eq!(i.state()["KeyState"], "PendingImport");
    delete(None).unwrap();
    i.import(2, None, None).unwrap();
    assert_eq!(i.state()["KeyState"], "PendingImport", "the first is still missing");
    i.import(1, None, Some("EXISTING_KEY_MATERIAL")).unwrap();
    assert_eq!(i.state()["KeyState"], "Enabled");
    let unknown = json!("00".repeat(32));
    assert_eq!(name_of(delete(Some(&unknown))), Some(KmsErrorName::NotFoundException));
}

#[test]
fn an_import_or_a_deletion_of_material_that_is_repeated_changes_nothing() {
    let i = Imported::new();
    let list = || {
        let (materials, page) = (Materials::All, Page::default());
        (i.state(), i.keys.call(&Call::ListKeyRotations { key_id: i.id.clone(), materials, page }).unwrap())
    };
    let twice = |call: Call, then: &str| {
        let first = i.keys.call(&call).unwrap();
        let before = list();
        assert_eq!(i.keys.call(&call).unwrap(), first, "{}", call.operation());
        assert_eq!(list(), before, "{}", call.operation());
        assert_eq!(before.0["KeyState"], then, "{}", call.operation());
    };
    let import = |byte: u8, kind: Option<&str>| {
        let (token, public) = i.parameters("RSAES_OAEP_SHA_256");
        i.call(&token, &wrap(&public, Oaep::Sha256, &[byte; 32]).unwrap(), None, kind)
    };
    let delete = || Call::DeleteImportedKeyMaterial { key_id: i.id.clone(), key_material_id: None };
    twice(import(1, None), "Enabled");
    twice(import(1, Some("EXISTING_KEY_MATERIAL")), "Enabled");
    twice(import(2, Some("NEW_KEY_MATERIAL")), "Enabled");
    i.keys.call(&Call::RotateKeyOnDemand { key_id: i.id.clone() }).unwrap();
    // It is in use now: what asks for another one is no repetition.
    let error = i.keys.call(&import(2, Some("NEW_KEY_MATERIAL"))).unwrap_err();
    assert_eq!(KmsError::of(error).unwrap().name, KmsErrorName::IncorrectKeyMaterialException);
    twice(delete(), "PendingImport");
    twice(import(2, None), "Enabled");
}
