//! What is refused is in the audit log.
use super::*;

#[test]
fn a_verb_that_is_refused_is_in_the_log_unless_it_only_looks() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let events = || {
        let text = String::from_utf8(f.read(crate::events::FILE_NAME)).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let id = keys.keys()[0].id.to_string();
    keys.call(&Call::DisableKey { key_id: id.clone() }).unwrap();
    let refused = Call::RotateKeyOnDemand { key_id: "alias/default".to_owned() };
    let error = KmsError::of(keys.call(&refused).unwrap_err()).unwrap();
    keys.record_refused_call(&refused, &error.name.to_string());
    let event = events().pop().unwrap();
    assert_eq!(event["detail"]["event-name"], "RotateKeyOnDemand");
    assert_eq!(event["detail"]["error-code"], "DisabledException");
    assert_eq!(
        (&event["detail"]["outcome"], &event["detail"]["key-id"]),
        (&"refused".into(), &id.as_str().into())
    );
    // One that only looks isn't.
    let before = events().len();
    keys.record_refused_call(&Call::DescribeKey { key_id: id.clone() }, "NotFoundException");
    assert_eq!(events().len(), before);

    let error = keys.rotate(&default_alias()).unwrap_err();
    keys.record_refused_rotation(&default_alias(), &error);
    let event = events().pop().unwrap();
    assert_eq!(
        (&event["detail"]["event-name"], &event["detail"]["key-id"]),
        (&"RotateKey".into(), &id.into())
    );
    assert_eq!(event["detail"]["error-code"], "KMSInvalidStateException");
}
