//! The names in messages: older programs know them, whatever the code calls them.

use serde_json::json;

use super::*;
use crate::service::PendingStatus;

#[test]
fn messages_keep_the_names_that_older_programs_know() {
    let key = KeyId::from_bytes([7; 16]);
    let alias = AliasName::default_alias();
    let same = |message: serde_json::Value, expected: serde_json::Value| assert_eq!(message, expected);
    let request = |request: Request| serde_json::to_value(request).unwrap();
    let reply = |reply: Reply| serde_json::to_value(reply).unwrap();
    same(
        request(Request::Rotate { target: KeyRef::Key(key) }),
        json!({"ask": "rotate", "target": {"key": key}}),
    );
    same(
        request(Request::Rotate { target: KeyRef::Alias(alias.clone()) }),
        json!({"ask": "rotate", "target": {"alias": "alias/default"}}),
    );
    let rotation = Rotation { alias: None, key, old: KeyVersion(1), new: KeyVersion(2) };
    same(
        reply(Reply::Rotated(rotation)),
        json!({"reply": "rotated", "alias": null, "key_id": key, "old_version": 1, "new_version": 2}),
    );
    let replaced = ManualRotation { alias: alias.clone(), old: key, new: key, dated: alias };
    same(
        reply(Reply::KeyReplaced(replaced)),
        json!({"reply": "renewed", "alias": "alias/default", "old_key_id": key, "new_key_id": key,
               "dated_alias": "alias/default"}),
    );
    for (what, name) in
        [(Retirement::Retire, "shut"), (Retirement::Restore, "open"), (Retirement::Trim, "trim")]
    {
        let asked =
            Retire { key_id: "k".into(), below: KeyVersion(2), what, force: None, copies: Vec::new() };
        same(
            request(Request::Retire { asked }),
            json!({"ask": "retire", "asked": {"key_id": "k", "below": 2, "what": name, "insist": null}}),
        );
    }
    let progress = Progress { seen: 3, rewrapped: 2, failed: 1, ..Progress::default() };
    same(
        reply(Reply::Progress(progress)),
        json!({"reply": "progress", "seen": 3, "rewrapped": 2, "failed": 1}),
    );
    same(
        reply(Reply::Refused(ErrorReply::new(ErrorKind::KeyNotUsable, "no"))),
        json!({"reply": "refused", "kind": "key-not-usable", "message": "no"}),
    );
    let pending = PendingStatus { key_id: key, date: "d".into(), forced: true, blocked: None };
    same(
        serde_json::to_value(pending).unwrap(),
        json!({"key_id": key, "date": "d", "insisted": true, "held_up": null}),
    );
}
