//! Every verb that changes the keyring, failed and stopped at each of its write points in turn: what is on disk
//! is the old keyring or the new one, whole and opened by a secret, never none; and the next change goes through.
use super::*;
use crate::crypto::keys::{KeyMaterial, Wrapped};
use crate::kms::{Encrypt, Pairs, SecretText};
use crate::storage::Errno;
use crate::storage::fault::{After, Faults, InjectedFault, Op, Plan};

/// A verb: what it is called here, and how it is done.
type Verb = (&'static str, fn(&World, &Opened) -> Result<(), KeyringError>);

/// A vault with two slots, a second key of two versions behind an alias, a third one that waits for its deletion,
/// one with imported material, and a DEK wrapped under the first.
struct World {
    f: Fixture,
    /// The files of the vault and of the host's memory as each step begins.
    files: Vec<(PathBuf, Vec<u8>)>,
    second: String,
    third: String,
    imported: String,
    /// Brings that material in once more, with a date.
    #[cfg(feature = "aws-lc")]
    import: Call,
    file: FileId,
    backing: BackingKeyId,
    wrapped: Wrapped,
    print: [u8; 32],
}

const VERBS: &[Verb] = &[
    ("rotate", |_, o| o.keys.rotate(&default_alias()).map(drop)),
    ("rotate what is due", |w, o| {
        w.f.clock.0.fetch_add(400 * 86_400_000, Ordering::Relaxed);
        assert!(!o.keys.rotate_due()?.is_empty());
        Ok(())
    }),
    ("disable", |w, o| o.keys.disable_key(w.second.parse().unwrap())),
    ("RotateKeyOnDemand", |w, o| call(o, Call::RotateKeyOnDemand { key_id: w.second.clone() })),
    ("CreateKey", |_, o| call(o, Call::CreateKey { key: NewKey::default() })),
    ("CreateAlias", |w, o| {
        call(o, Call::CreateAlias { alias_name: "alias/new".into(), target_key_id: w.second.clone() })
    }),
    ("UpdateAlias", |w, o| {
        call(o, Call::UpdateAlias { alias_name: "alias/default".into(), target_key_id: w.second.clone() })
    }),
    ("DeleteAlias", |_, o| call(o, Call::DeleteAlias { alias_name: "alias/second".into() })),
    ("EnableKeyRotation", |w, o| {
        call(o, Call::EnableKeyRotation { key_id: w.second.clone(), rotation_period_in_days: Some(90) })
    }),
    ("ScheduleKeyDeletion", |w, o| {
        call(
            o,
            Call::ScheduleKeyDeletion {
                key_id: w.second.clone(),
                pending_window_in_days: Some(7),
                force: None,
            },
        )
    }),
    ("CancelKeyDeletion", |w, o| call(o, Call::CancelKeyDeletion { key_id: w.third.clone() })),
    ("rotate --new-key", |_, o| o.keys.replace_key(&AliasName::default_alias()).map(drop)),
    ("retire", |w, o| retire(w, o, Retirement::Retire)),
    ("trim", |w, o| retire(w, o, Retirement::Trim)),
    ("PutKeyPolicy", |w, o| {
        let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#;
        call(
            o,
            Call::PutKeyPolicy {
                key_id: w.second.clone(),
                policy_name: None,
                policy: policy.into(),
                bypass_policy_lockout_safety_check: false,
            },
        )
    }),
    ("TagResource", |w, o| call(o, Call::TagResource { key_id: w.second.clone(), tags: tags("new") })),
    ("UntagResource", |w, o| {
        call(o, Call::UntagResource { key_id: w.second.clone(), tag_keys: vec!["a".into()] })
    }),
    #[cfg(feature = "aws-lc")]
    ("ImportKeyMaterial", |w, o| call(o, w.import.clone())),
    ("DeleteImportedKeyMaterial", |w, o| {
        call(o, Call::DeleteImportedKeyMaterial { key_id: w.imported.clone(), key_material_id: None })
    }),
    ("Encrypt, the first", |w, o| {
        call(
            o,
            Call::Encrypt(Encrypt {
                key_id: w.second.clone(),
                plaintext: SecretText::new("AAAA".into()),
                encryption_context: Pairs::new(),
                encryption_algorithm: None,
                dry_run: false,
            }),
        )
    }),
    ("add a slot", |_, o| o.keys.add_slot(&o.proof, &NewSlot::of(&key_file(3), KDF)).map(drop)),
    ("remove a slot", |_, o| o.keys.remove_slot(&o.proof, o.keys.prove(&key_file(2))?.slot())),
    ("change a slot", |_, o| {
        let old = o.keys.prove(&key_file(2))?.slot();
        o.keys.change_slot(&o.proof, old, &NewSlot::of(&key_file(3), KDF)).map(drop)
    }),
    ("label a slot", |_, o| o.keys.label_slot(&o.proof, o.proof.slot(), Some("laptop".parse().unwrap()))),
    ("replace slots", |_, o| {
        let old = o.keys.prove(&key_file(2))?.slot();
        o.keys.replace_slots(&o.proof, &[old], &[NewSlot::of(&key_file(3), KDF)]).map(drop)
    }),
    ("revoke", |_, o| o.keys.revoke(&o.proof, &[&key_file(1)], &[], KDF).map(drop)),
];

fn retire(world: &World, opened: &Opened, what: Retirement) -> Result<(), KeyringError> {
    let order = RetireOrder { key: world.second.parse().unwrap(), below: KeyVersion(2), what };
    opened.keys.retire(&order, None).map(drop)
}

fn tags(value: &str) -> Vec<Tag> {
    vec![Tag { tag_key: "a".into(), tag_value: value.into() }]
}

/// A key with imported material.
fn import_key(keys: &Keys, material: [u8; 32]) -> String {
    let key = NewKey { origin: Some("EXTERNAL".into()), ..NewKey::default() };
    let made = keys.call(&Call::CreateKey { key }).unwrap();
    let text = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let id: KeyId = text.parse().unwrap();
    keys.import_material(id, KeyMaterial::from_bytes(&material), None, None).unwrap();
    text
}

#[cfg(feature = "aws-lc")]
fn import_again(keys: &Keys, key_id: &str, material: [u8; 32]) -> Call {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use crate::crypto::import::{Oaep, wrap};

    let parameters = keys.call(&Call::GetParametersForImport {
        key_id: key_id.into(),
        wrapping_algorithm: "RSAES_OAEP_SHA_256".into(),
        wrapping_key_spec: "RSA_2048".into(),
    });
    let parameters = parameters.unwrap();
    let text = |field: &str| parameters[field].as_str().unwrap().to_owned();
    let public = BASE64.decode(text("PublicKey")).unwrap();
    Call::ImportKeyMaterial {
        key_id: key_id.into(),
        import_token: text("ImportToken"),
        encrypted_key_material: BASE64.encode(wrap(&public, Oaep::Sha256, &material).unwrap()),
        expiration_model: None,
        valid_to: Some("86400".into()),
        import_type: None,
        key_material_id: None,
    }
}

fn call(opened: &Opened, call: Call) -> Result<(), KeyringError> {
    opened.keys.call(&call).map(drop).map_err(|error| match error {
        CallError::Failed(error) => error,
        CallError::Refused(error) => panic!("{error}"),
    })
}

fn files_below(dir: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            files.push((path, bytes));
        }
    }
    files
}

impl World {
    fn new() -> Self {
        let f = Fixture::in_memory();
        let keys = f.create(&[&key_file(1), &key_file(2)]).keys;
        let made = || {
            let key = NewKey { tags: tags("old"), ..NewKey::default() };
            let key = keys.call(&Call::CreateKey { key }).unwrap();
            key["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
        };
        let (second, third) = (made(), made());
        let alias = Call::CreateAlias { alias_name: "alias/second".into(), target_key_id: second.clone() };
        keys.call(&alias).unwrap();
        keys.call(&Call::ScheduleKeyDeletion {
            key_id: third.clone(),
            pending_window_in_days: None,
            force: None,
        })
        .unwrap();
        let id = keys.keys()[0].id.to_string();
        keys.call(&Call::EnableKeyRotation { key_id: id, rotation_period_in_days: None }).unwrap();
        keys.rotate(&KeyRef::Key(second.parse().unwrap())).unwrap();
        let imported = import_key(&keys, [9; 32]);
        #[cfg(feature = "aws-lc")]
        let import = import_again(&keys, &imported, [9; 32]);
        let (file, dek) = (FileId::random(), Dek::generate());
        let guard = keys.begin_wrap(&AliasName::default_alias()).unwrap();
        let (backing, wrapped) = (guard.backing(), guard.wrap(file, Suite::Aes256Gcm, &dek));
        drop(guard);
        let files = files_below(f.dir.path());
        Self {
            f,
            files,
            second,
            third,
            imported,
            #[cfg(feature = "aws-lc")]
            import,
            file,
            backing,
            wrapped,
            print: print_of(&dek),
        }
    }

    /// Everything as it was at the beginning, for a new process.
    fn reset(&self) -> Opened {
        for (path, _) in files_below(self.f.dir.path()) {
            std::fs::remove_file(path).unwrap();
        }
        for (path, bytes) in &self.files {
            std::fs::write(path, bytes).unwrap();
        }
        self.f.clock.0.store(1_000_000, Ordering::Relaxed);
        self.f.open(&key_file(1)).unwrap()
    }

    /// Every keyring opens with the first secret and unwraps what was wrapped before.
    fn check(&self, when: &str) -> Opened {
        let opened = self.f.open(&key_file(1)).unwrap_or_else(|e| panic!("{when}: {e}"));
        let dek =
            opened.keys.unwrap(self.backing, self.file, Suite::Aes256Gcm, Format::CURRENT, &self.wrapped);
        let dek = dek.unwrap_or_else(|e| panic!("{when}: {e}"));
        assert_eq!(print_of(&dek), self.print, "{when}");
        opened
    }

    /// The next change goes through and leaves nothing of the one that failed.
    fn goes_on(&self, opened: &Opened, when: &str) {
        opened.keys.rotate(&default_alias()).unwrap_or_else(|e| panic!("{when}: the next change: {e}"));
        let names = self.f.names();
        assert!(!names.iter().any(|name| name.starts_with(".tmp.")), "{when}: {names:?}");
        for reserve in RESERVE_NAMES {
            assert!(names.iter().any(|name| name == reserve), "{when}: {names:?}");
        }
        self.check(when);
    }
}

/// Walks each verb through its write points with the plan that `faults` makes for each, as long as what it plans
/// `happens`; `goes` says of which calls the failure must not be noticed.
fn walk(faults: impl Fn(u64) -> Faults, happens: fn(&Faults) -> bool, goes: impl Fn(Op) -> bool) {
    let world = World::new();
    for (name, verb) in VERBS {
        for skip in 0.. {
            let opened = world.reset();
            let before = opened.keys.generation();
            let (faults, when) = (faults(skip), format!("{name}, after {skip} calls"));
            let done = {
                let _scope = faults.on_this_thread();
                verb(&world, &opened)
            };
            if !happens(&faults) {
                assert!(done.is_ok() && skip > 3, "{when}: {:?}", done.err());
                break;
            }
            let after = world.check(&when);
            assert!(after.keys.generation() >= before, "{when}");
            match done {
                Ok(()) => assert!(after.keys.generation() > before, "{when}"),
                Err(e) => assert!(!goes(faults.log()[skip as usize]), "{when}: {e}"),
            }
            // First the process that saw the failure, then one that starts.
            if !faults.stopped() && after.keys.generation() == opened.keys.generation() {
                world.goes_on(&opened, &when);
            }
            world.goes_on(&world.check(&when), &when);
        }
    }
}

/// Runs each verb once for each of its writes and each fault that `tried` picks, which hits that write.
fn walk_writes(tried: fn(InjectedFault) -> bool) {
    let world = World::new();
    for (name, verb) in VERBS {
        let opened = world.reset();
        let recorded = Faults::record();
        {
            let _scope = recorded.on_this_thread();
            verb(&world, &opened).unwrap();
        }
        let writes = recorded.log().into_iter().enumerate().filter(|(_, call)| *call == Op::Pwrite);
        let writes: Vec<_> = writes.map(|(skip, _)| skip as u64).collect();
        assert!(writes.len() > 1, "{name} writes its event and the keyring");
        for skip in writes {
            for fault in InjectedFault::all_of(Op::Pwrite).into_iter().filter(|fault| tried(*fault)) {
                let opened = world.reset();
                let (faults, when) = (fault.at(skip), format!("{name}, {fault:?} after {skip} calls"));
                let done = {
                    let _scope = faults.on_this_thread();
                    verb(&world, &opened)
                };
                if !fault.stops() {
                    done.unwrap_or_else(|e| panic!("{when}: {e}"));
                }
                let after = world.check(&when);
                world.goes_on(if fault.stops() { &after } else { &opened }, &when);
                let events = world.check(&when).keys.verify_events().unwrap();
                assert!(events.is_good() && !events.torn_end, "{when}: {events:?}");
            }
        }
    }
}

#[test]
fn a_verb_that_is_stopped_in_the_middle_of_a_write_leaves_the_old_or_the_new_keyring() {
    walk_writes(|fault| matches!(fault, InjectedFault::TornStop(_)));
}

#[test]
fn a_verb_goes_through_where_a_write_is_cut_short_or_finds_no_room_for_the_rest() {
    walk_writes(|fault| matches!(fault, InjectedFault::TornFull(_) | InjectedFault::Short(_)));
}

#[test]
fn a_verb_that_is_stopped_anywhere_leaves_the_old_or_the_new_keyring() {
    walk(Faults::stop_after, Faults::fired, |_| false);
}

#[test]
fn a_verb_that_fails_anywhere_leaves_the_old_or_the_new_keyring() {
    walk(|skip| Faults::fail_once(skip, Errno::IO), Faults::fired, |_| false);
}

/// What a full disk refuses is done with the room that is kept; syncing the directory needs none.
#[test]
fn a_verb_goes_through_where_the_disk_is_full() {
    walk(|skip| Faults::fail_once(skip, Errno::NOSPC), Faults::fired, |op| op != Op::Fsync);
}

#[test]
fn a_verb_goes_through_where_it_is_interrupted() {
    walk(|skip| Faults::fail_once(skip, Errno::INTR), Faults::fired, |_| true);
}

/// A full disk at the first new file or its content, and a kill at each call that follows.
#[test]
fn a_verb_that_is_stopped_while_it_uses_the_reserve_leaves_the_old_or_the_new_keyring() {
    for only in [Op::Create, Op::Fsync] {
        walk(
            |more| {
                let after = After::StopAfter(more);
                Faults::new(Plan { skip: 0, only: Some(only), errno: Errno::NOSPC, after })
            },
            Faults::stopped,
            |_| false,
        );
    }
}

/// Blobs can't be counted, so a key that has given one out must say so for ever.
#[test]
fn no_stop_leaves_a_blob_of_a_key_that_counts_as_one_without() {
    let world = World::new();
    let (_, encrypt) = VERBS.iter().find(|(name, _)| *name == "Encrypt, the first").unwrap();
    let mut given_out = 0;
    for skip in 0.. {
        let opened = world.reset();
        let faults = Faults::stop_after(skip);
        let done = {
            let _scope = faults.on_this_thread();
            encrypt(&world, &opened)
        };
        let after = world.check(&format!("after {skip} calls"));
        let deletion = after.keys.try_schedule_deletion(&world.second, Some(7));
        if done.is_ok() {
            given_out += 1;
            let refused = deletion.expect_err("a blob was given out");
            assert!(matches!(refused, KeyringError::Rule(RuleError::HasEncryptedData { .. })), "{refused}");
        }
        if !faults.fired() {
            break;
        }
    }
    assert!(given_out > 0);
}
