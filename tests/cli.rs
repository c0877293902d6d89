//! The commands that need no mount, run as a user runs them: output, exit statuses, one line for a failure.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        for name in ["run", "state"] {
            std::fs::create_dir(home.path(name)).unwrap();
        }
        std::fs::write(home.path("pass"), "first line: tarnished mule\nsecond line\n").unwrap();
        std::fs::write(home.path("other"), "another").unwrap();
        std::fs::write(home.path("key"), [7; 32]).unwrap();
        home
    }

    fn with_vault(args: &[&str]) -> Self {
        let home = Self::new();
        home.ok(&[&["init", "vault", "--kdf-memory", "8"], args].concat());
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, "")
    }

    fn run_with(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rekeyfs"))
            .args(args)
            .current_dir(&self.dir)
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_STATE_HOME", self.path("state"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without reading.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert!(done.status.success(), "{args:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    #[track_caller]
    fn refused(&self, args: &[&str], status: i32, says: &str) {
        refused(&self.run(args), status, says);
    }
}

#[track_caller]
fn refused(done: &Output, status: i32, says: &str) {
    let said = String::from_utf8(done.stderr.clone()).unwrap();
    assert_eq!(done.status.code(), Some(status), "{said}");
    assert!(said.starts_with("rekeyfs: ") && said.lines().count() == 1, "{said}");
    assert!(said.contains(says), "{said}");
}

/// The recovery key in what a command printed.
fn recovery_key(printed: &str) -> String {
    printed.split_whitespace().find(|word| word.len() == 63).unwrap().to_owned()
}

#[test]
fn init_makes_a_vault_and_refuses_what_is_in_its_way() {
    let home = Home::new();
    let printed = home.ok(&["init", "vault", "--passfile", "pass", "--kdf-memory", "8"]);
    assert_eq!(recovery_key(&printed).matches('-').count(), 7);
    assert!(home.path("vault/keyring").is_file() && home.path("vault/tree").is_dir());
    home.refused(&["init", "vault", "--passfile", "pass"], 6, "not empty");
    home.refused(&["init", "no/where", "--passfile", "pass", "--kdf-memory", "8"], 6, "no/where");
    home.refused(&["init", "x", "--passfile", "pass", "--kdf-memory", "7"], 2, "8 to 4096");
    home.refused(&["init", "x", "--passfile", "pass", "--suite", "rot13"], 2, "rot13");
    home.refused(&["init", "x", "--passfile", "/dev/null"], 22, "empty");
    home.refused(&["init", "x", "--passfile", "gone"], 9, "gone");
    home.refused(&["init", "x", "--keyfile", "pass"], 9, "32 bytes");
    home.refused(&["init", "x", "--extpass", "exit 3"], 9, "exit status: 3");
    assert!(!home.path("x").exists());
}

#[test]
fn rotate_and_status_without_a_mount() {
    let home = Home::with_vault(&["--passfile", "pass", "--suite", "chacha20-poly1305"]);
    let open = ["--passfile", "pass"];
    let status = home.json(&[&["status", "vault"][..], &open].concat());
    assert_eq!(status["suite"], "chacha20-poly1305");
    assert_eq!(status["mount"], Value::Null);
    let alias = &status["aliases"][0];
    assert_eq!((&alias["alias"], &alias["version"]), (&"alias/default".into(), &1.into()));
    let key = alias["key_id"].as_str().unwrap();

    let rotated = home.json(&[&["rotate", "vault"][..], &open].concat());
    assert_eq!((&rotated["old_version"], &rotated["new_version"]), (&1.into(), &2.into()));
    assert_eq!((&rotated["alias"], &rotated["key_id"]), (&"alias/default".into(), &key.into()));
    let text = home.ok(&["rotate", "vault", "--passfile", "pass", "--key-id", key]);
    let (rotated, advice) = text.split_once('\n').unwrap();
    assert_eq!(rotated, format!("alias/default: key {key}: version 2 -> 3"));
    assert!(advice.starts_with("there is no key backup:"), "{advice}");
    home.ok(&["rotate", "vault", "--passfile", "pass", "--alias", "default"]);
    assert_eq!(home.json(&["status", "vault", "--passfile", "pass"])["aliases"][0]["version"], 4);

    home.refused(&["rotate", "vault", "--passfile", "pass", "--alias", "none"], 44, "alias/none");
    home.refused(&["rotate", "vault", "--passfile", "pass", "--alias", "rekeyfs/tree"], 44, "managed");
    home.refused(&["rotate", "vault", "--passfile", "pass", "--alias", "?"], 2, "alias name");
    home.refused(&["rotate", "vault", "--passfile", "pass", "--key-id", "1"], 2, "key id");
    home.refused(&["rotate", "vault", "--passfile", "other"], 12, "wrong passphrase");
    home.refused(&["rotate", "vault", "--keyfile", "key"], 12, "no key file");
    let report = home.json(&["rewrap", "vault", "--passfile", "pass"]);
    assert_eq!((&report["seen"], &report["complete"]), (&0.into(), &true.into()));
}

#[test]
fn secrets_come_from_standard_input_a_line_each() {
    let home = Home::with_vault(&["--passfile", "pass", "--no-recovery-key"]);
    assert!(home.run_with(&["status", "vault"], "first line: tarnished mule\nrest\n").status.success());
    refused(&home.run_with(&["status", "vault"], "second line\n"), 12, "wrong passphrase");
    refused(&home.run_with(&["status", "vault"], ""), 22, "no line for it");
    refused(&home.run_with(&["status", "vault"], "\n"), 22, "no line for it");
    let change = ["unlock", "change", "vault", "--kdf-memory", "8"];
    assert!(home.run_with(&change, "first line: tarnished mule\nnew one\n").status.success());
    assert!(home.run_with(&["status", "vault"], "new one").status.success());
    home.refused(&["status", "vault", "--passfile", "pass"], 12, "wrong passphrase");
}

#[test]
fn slots_are_added_changed_and_removed() {
    let home = Home::new();
    let printed = home.ok(&["init", "vault", "--passfile", "pass", "--kdf-memory", "8"]);
    std::fs::write(home.path("recovery"), recovery_key(&printed).to_lowercase().replace('-', " ")).unwrap();
    home.ok(&["status", "vault", "--recovery-key", "--passfile", "recovery"]);
    home.refused(&["status", "vault", "--recovery-key", "--passfile", "pass"], 14, "56 letters");
    home.ok(&["unlock", "add", "vault", "--recovery-key", "--passfile", "recovery", "--new-keyfile", "key"]);
    home.ok(&["status", "vault", "--keyfile", "key"]);

    let slots = home.json(&["unlock", "list", "vault"]);
    let kinds: Vec<&str> =
        slots["slots"].as_array().unwrap().iter().map(|slot| slot["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["passphrase", "recovery", "keyfile"]);
    let passphrase = slots["slots"][0]["id"].as_str().unwrap();
    home.refused(&["unlock", "remove", "vault", passphrase, "--passfile", "other"], 12, "wrong");
    home.refused(&["unlock", "remove", "vault", "x", "--keyfile", "key"], 2, "no slot has this label");
    home.ok(&["unlock", "remove", "vault", passphrase, "--keyfile", "key"]);
    home.refused(&["status", "vault", "--passfile", "pass"], 12, "no passphrase");

    let before = std::fs::read(home.path("vault/keyring")).unwrap();
    let change = ["unlock", "change", "vault", "--revoke", "--keyfile", "key", "--new-passfile", "other"];
    // A passphrase doesn't take the place of a key file unless that is said.
    home.refused(&change, 2, "--slot");
    let key_file = slots["slots"][2]["id"].as_str().unwrap();
    let printed = home.ok(&[&change[..], &["--kdf-memory", "8", "--slot", key_file]].concat());
    assert_eq!(recovery_key(&printed).len(), 63);
    home.refused(&["status", "vault", "--keyfile", "key"], 12, "no key file");
    home.refused(&["status", "vault", "--recovery-key", "--passfile", "recovery"], 12, "wrong recovery key");
    home.ok(&["status", "vault", "--passfile", "other"]);
    std::fs::write(home.path("vault/keyring"), before).unwrap();
    home.refused(&["status", "vault", "--keyfile", "key"], 41, "--accept-rollback");
}

#[test]
fn a_forgotten_passphrase_is_replaced_and_the_recovery_key_stays() {
    let home = Home::new();
    let printed = home.ok(&["init", "vault", "--passfile", "pass", "--kdf-memory", "8"]);
    std::fs::write(home.path("recovery"), recovery_key(&printed)).unwrap();
    let by_recovery = ["unlock", "change", "vault", "--recovery-key", "--passfile", "recovery"];
    let to_other = ["--new-passfile", "other", "--kdf-memory", "8"];
    home.refused(&[&by_recovery[..], &to_other].concat(), 2, "--slot");
    let slots = home.json(&["unlock", "list", "vault"]);
    let passphrase = slots["slots"][0]["id"].as_str().unwrap();
    let said = home.ok(&[&by_recovery[..], &to_other, &["--slot", passphrase]].concat());
    assert!(said.starts_with(&format!("slot {passphrase} (passphrase) is replaced by slot ")), "{said}");
    assert!(said.ends_with(" (passphrase)\n"), "{said}");
    home.ok(&["status", "vault", "--recovery-key", "--passfile", "recovery"]);
    home.ok(&["status", "vault", "--passfile", "other"]);
    home.refused(&["status", "vault", "--passfile", "pass"], 12, "wrong passphrase");
}

#[test]
fn what_is_no_vault_is_refused_with_its_status() {
    let home = Home::with_vault(&["--passfile", "pass"]);
    home.refused(&["status", "pass"], 6, "neither a vault");
    home.refused(&["status", "nowhere"], 6, "nowhere");
    home.refused(&["umount", "run"], 42, "run");
    home.refused(&["inspect", "pass"], 1, "no rekeyfs header");
    home.refused(&["dance"], 2, "dance");
    home.refused(&[], 2, "no command");
    let keyring = home.path("vault/keyring");
    let whole = std::fs::read(&keyring).unwrap();
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&keyring, &bytes).unwrap();
    home.refused(&["rotate", "vault", "--passfile", "pass"], 8, "damaged");
    bytes[4] = 99;
    std::fs::write(&keyring, &bytes).unwrap();
    home.refused(&["rotate", "vault", "--passfile", "pass"], 8, "newer");
    std::fs::remove_file(&keyring).unwrap();
    home.refused(&["rotate", "vault", "--passfile", "pass"], 23, "keyring");
    std::fs::write(&keyring, &whole).unwrap();
    home.ok(&["rotate", "vault", "--passfile", "pass"]);
}
