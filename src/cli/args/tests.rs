use std::os::unix::ffi::OsStringExt;

use clap::CommandFactory;
use proptest::prelude::*;

use super::*;
use crate::sys::testing::cases;

fn line(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

fn parsed(text: &str) -> Invocation {
    parse(line(text)).unwrap_or_else(|failure| panic!("{text}: {failure}"))
}

fn command(text: &str) -> Command {
    match parsed(text) {
        Invocation::Command(command) => *command,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn definitions_are_consistent() {
    Typed::command().debug_assert();
    Fstab::command().debug_assert();
}

#[test]
fn every_command_takes_its_options() {
    for text in [
        "rekeyfs init v --passfile p --kdf-memory 8 --suite chacha20-poly1305 --no-recovery-key",
        "rekeyfs init v --keyfile k",
        "rekeyfs mount v m -f --allow-other --read-only --no-rewrap --suid --dev --accept-rollback --extpass x",
        "rekeyfs mount v m --no-writeback --no-xattrs",
        "rekeyfs mount v m --recovery-key --passfile r -o ro -o nodev",
        "rekeyfs umount m --lazy",
        "rekeyfs rotate m --json",
        "rekeyfs rotate m --alias alias/x",
        "rekeyfs rotate v --passfile p --key-id 0",
        "rekeyfs rotate v --due --json",
        "rekeyfs rewrap m --json --max-rate 100",
        "rekeyfs kms list-aliases --vault v --output text",
        "rekeyfs kms create-key --description d --tags TagKey=a,TagValue=b TagKey=c,TagValue=d --vault v",
        "rekeyfs kms enable-key-rotation --key-id k --rotation-period-in-days -1 --passfile p",
        "rekeyfs kms list-key-rotations --key-id k --include-key-material ALL_KEY_MATERIAL",
        "rekeyfs kms put-key-policy --key-id k --policy-name default --policy file://p",
        "rekeyfs --region x kms --output text describe-key --key k --query KeyMetadata.Arn",
        "rekeyfs kms create-grant --key-id k --grantee-principal p --operations Decrypt",
        "rekeyfs kms describe-key --generate-cli-skeleton",
        "rekeyfs kms describe-key --cli-input-json {}",
        "rekeyfs status v --keyfile k --json",
        "rekeyfs status v --accept-rollback --next-version 7",
        "rekeyfs key-backup import v f --next-version 7",
        "rekeyfs inspect a b --json",
        "rekeyfs unlock list v --json",
        "rekeyfs unlock add v --passfile p --new-passfile q --kdf-memory 8",
        "rekeyfs unlock add v --new-recovery-key",
        "rekeyfs unlock remove v 123 --keyfile k",
        "rekeyfs unlock remove v 123 --revoke --keep-passfile p --keep-passfile q --keep-keyfile k",
        "rekeyfs unlock change v --revoke",
        "rekeyfs unlock change v --slot 1 --recovery-key --new-keyfile k",
    ] {
        command(text);
    }
    let Command::Mount(mount) = command("rekeyfs mount v m -o ro,allow_other -o x") else { panic!() };
    assert_eq!(mount.options, ["ro,allow_other", "x"]);
}

#[test]
fn what_does_not_fit_is_a_usage_error_on_one_line() {
    for text in [
        "rekeyfs",
        "rekeyfs dance",
        "rekeyfs init",
        "rekeyfs mount v",
        "rekeyfs mount v m --passfile a --extpass b",
        "rekeyfs mount v m --passfile a --keyfile b",
        "rekeyfs mount v m --keyfile a --recovery-key",
        "rekeyfs init v --recovery-key",
        "rekeyfs init v --kdf-memory much",
        "rekeyfs rotate m --alias a --key-id b",
        "rekeyfs rotate m --due --key-id b",
        "rekeyfs kms",
        "rekeyfs kms describe-key",
        "rekeyfs kms import-key-material --key-id k",
        "rekeyfs kms list-keys --output xml",
        "rekeyfs kms list-keys --limit much",
        "rekeyfs kms create-key --multi-region --no-multi-region",
        "rekeyfs kms create-key --key x",
        "rekeyfs kms describe-key --key-id",
        "rekeyfs kms create-key --cli-input-json {} --cli-input-yaml {}",
        "rekeyfs kms create-key --generate-cli-skeleton all",
        "rekeyfs --region x mount v m",
        "rekeyfs inspect",
        "rekeyfs status v --next-version 7",
        "rekeyfs key-backup import v f --next-version 0",
        "rekeyfs unlock",
        "rekeyfs unlock remove",
        "rekeyfs unlock label 12",
        "rekeyfs unlock test --identity i",
        "rekeyfs fsck v --identity i",
        "rekeyfs fsck v --keyring k --identity i --passfile p",
        "rekeyfs key-backup export v f --recipient age1 --backup-passfile p",
        "rekeyfs mount v m --foreground --json",
        "rekeyfs unlock remove v 1 --keep-passfile p",
        "rekeyfs rewrap m --max-rate 0",
        "rekeyfs unlock add v --new-keyfile a --new-recovery-key",
        "mount.fuse.rekeyfs v",
    ] {
        let failure = parse(line(text)).expect_err(text);
        assert_eq!(failure.exit, Exit::Usage, "{text}");
        let shown = failure.to_string();
        assert!(shown.starts_with("command line: ") && !shown.contains('\n'), "{text}: {shown}");
    }
}

#[test]
fn a_target_that_is_not_typed_is_where_the_user_is() {
    let Command::Status(status) = command("rekeyfs status") else { panic!() };
    assert_eq!(status.target, Some(PathBuf::from(HERE)));
    for text in [
        "rekeyfs rotate --json",
        "rekeyfs rewrap",
        "rekeyfs fsck",
        "rekeyfs events --verify",
        "rekeyfs info",
        "rekeyfs unlock list",
        "rekeyfs unlock change",
        "rekeyfs key retire --key-id k --below 2",
        "rekeyfs kms list-keys",
    ] {
        command(text);
    }
    // A lone argument is what can't be left out.
    let Command::Unlock(Unlock { command: UnlockCommand::Remove(remove) }) =
        command("rekeyfs unlock remove 12")
    else {
        panic!()
    };
    assert_eq!((remove.target.to_path_buf(), remove.slot), (PathBuf::from(HERE), "12".to_owned()));
    let KeyBackupCommand::Export(export) = (match command("rekeyfs key-backup export f") {
        Command::KeyBackup(backup) => backup.command,
        other => panic!("{other:?}"),
    }) else {
        panic!()
    };
    assert_eq!((export.target.to_path_buf(), export.file), (PathBuf::from(HERE), PathBuf::from("f")));
    for (text, target) in [
        ("rekeyfs key-backup import f --force", HERE),
        ("rekeyfs key-backup import v f --force", "v"),
        ("rekeyfs key-backup import --force v f", "v"),
    ] {
        let Command::KeyBackup(KeyBackup { command: KeyBackupCommand::Import(import) }) = command(text)
        else {
            panic!()
        };
        assert_eq!((import.target.to_path_buf(), import.file), (target.into(), PathBuf::from("f")), "{text}");
    }
    let Command::KeyBackup(KeyBackup { command: KeyBackupCommand::Merge(merge) }) =
        command("rekeyfs key-backup merge f")
    else {
        panic!()
    };
    assert_eq!((merge.target.to_path_buf(), merge.file), (PathBuf::from(HERE), PathBuf::from("f")));
    for (text, target) in [
        ("rekeyfs unlock label 12 text", HERE),
        ("rekeyfs unlock label v 12 text --json", "v"),
        ("rekeyfs unlock label --json v 12 text", "v"),
    ] {
        let Command::Unlock(Unlock { command: UnlockCommand::Label(label) }) = command(text) else {
            panic!()
        };
        let Labelling { target: found, slot, label } = label.labelling().unwrap();
        assert_eq!(
            (found.to_path_buf(), &slot[..], &label[..]),
            (PathBuf::from(target), "12", "text"),
            "{text}"
        );
    }
}

#[test]
fn what_is_misspelt_is_told_with_what_was_meant() {
    for (text, meant) in [
        ("rekeyfs statsu", "; did you mean status?"),
        ("rekeyfs status --cuont", "; did you mean --count?"),
        ("rekeyfs kms list-keyz", "; did you mean list-keys?"),
        ("rekeyfs kms list-keys --output tbale", "; did you mean table?"),
    ] {
        let shown = parse(line(text)).expect_err(text).to_string();
        assert!(shown.contains(meant), "{text}: {shown}");
    }
    assert!(!parse(line("rekeyfs dance")).expect_err("").to_string().contains("did you mean"));
}

#[test]
fn help_is_a_command_and_unmount_is_umount() {
    for text in [
        "rekeyfs help",
        "rekeyfs help status",
        "rekeyfs help key retire",
        "rekeyfs kms help create-key",
        "rekeyfs kms create-key help",
        "rekeyfs kms help",
        "rekeyfs kms list-keys --help",
    ] {
        assert!(
            matches!(parsed(text), Invocation::Show(shown) if shown.contains("Usage: rekeyfs")),
            "{text}"
        );
    }
    assert!(matches!(command("rekeyfs unmount m --lazy"), Command::Umount(Umount { lazy: true, .. })));
}

#[test]
fn each_verb_of_the_table_has_the_help_of_its_operation() {
    let all = definitions();
    let kms = all.find_subcommand("kms").unwrap();
    for operation in crate::kms::api::operations() {
        let verb = kms.find_subcommand(operation.verb()).unwrap();
        assert_eq!(verb.get_about().unwrap().to_string(), operation.help);
        for member in operation.members {
            let flag = verb.get_arguments().find(|arg| arg.get_long() == Some(&member.flag()));
            assert!(flag.is_some_and(|flag| flag.get_help().is_some()), "{} {}", operation.name, member.name);
        }
    }
}

#[test]
fn a_failure_has_the_statuses_of_what_the_command_is_like() {
    for (text, statuses) in [
        ("rekeyfs fsck v", Statuses::Fsck),
        ("rekeyfs kms", Statuses::Aws),
        ("rekeyfs kms no-verb", Statuses::Aws),
        ("rekeyfs --region x kms list-keys", Statuses::Aws),
        ("rekeyfs kms --region x serve v", Statuses::Own),
        ("rekeyfs kms serve v", Statuses::Own),
        ("rekeyfs kms re-encrypt f", Statuses::Own),
        ("rekeyfs kms re-encrypt --ciphertext-blob b", Statuses::Aws),
        ("rekeyfs mount kms m", Statuses::Own),
        ("rekeyfs", Statuses::Own),
    ] {
        assert_eq!(Statuses::of(line(text)), statuses, "{text}");
    }
}

#[test]
fn help_shows_the_exit_statuses() {
    for text in ["rekeyfs --help", "rekeyfs -h", "mount.fuse.rekeyfs --help"] {
        let Invocation::Show(shown) = parsed(text) else { panic!("{text}") };
        assert!(shown.contains("12  wrong passphrase"), "{text}");
    }
    assert!(matches!(parsed("rekeyfs --version"), Invocation::Show(v) if v.starts_with("rekeyfs ")));
}

#[test]
fn mount_8_is_understood() {
    for text in [
        "/sbin/mount.fuse.rekeyfs v m",
        "mount.fuse.rekeyfs v m -o rw,noauto",
        "mount.rekeyfs v m -n -s -v -t fuse.rekeyfs -o ro",
        "rekeyfs /srv/v /mnt -o rw,dev,suid",
        "rekeyfs ./v m",
    ] {
        assert!(matches!(parsed(text), Invocation::Fstab(_)), "{text}");
    }
    assert!(matches!(command("rekeyfs mount ./v m"), Command::Mount(_)));
}

#[test]
fn umount_8_is_understood() {
    let helper = |text: &str| match parsed(text) {
        Invocation::UmountHelper(helper) => helper,
        other => panic!("{text}: {other:?}"),
    };
    let plain = helper("/sbin/umount.fuse.rekeyfs /mnt");
    assert!(!plain.force && !plain.lazy && !plain.read_only && plain.namespace.is_none());
    let all = helper("umount.fuse.rekeyfs /mnt -f -l -n -r -v -N /proc/1/ns/mnt -t fuse.rekeyfs");
    assert!(all.force && all.lazy && all.read_only && all.namespace.is_some());
    assert!(helper("umount.fuse.rekeyfs /mnt -flnrv").lazy);
    assert!(parse(line("umount.fuse.rekeyfs")).is_err());
}

#[test]
fn what_makes_the_package_is_in_no_help_and_no_completion() {
    assert!(matches!(parsed("rekeyfs generate man d"), Invocation::Generate(Generated::Man { .. })));
    let Invocation::Show(help) = parsed("rekeyfs --help") else { panic!() };
    assert!(!help.contains("generate"), "{help}");
    for shell in completions() {
        let script = String::from_utf8(shell.script).unwrap();
        // It would be offered with its commands.
        let of_the_package =
            ["subcmd__generate__subcmd__man", "Write what a package holds", "Write manual pages"];
        assert!(of_the_package.iter().all(|word| !script.contains(word)), "{}", shell.file);
        let (commands, option) = (["mount", "key-backup", "schedule-key-deletion"], "no-writeback");
        assert!(commands.iter().all(|command| script.contains(command)), "{}", shell.file);
        assert!(script.contains(option), "{}", shell.file);
    }
}

proptest! {
    // Each makes all definitions.
    #![proptest_config(cases(64))]

    #[test]
    fn any_arguments_parse_or_fail(
        args in proptest::collection::vec(proptest::collection::vec(1u8..=255, 0..12), 0..6),
    ) {
        let mut line = vec![OsString::from("rekeyfs")];
        line.extend(args.into_iter().map(OsString::from_vec));
        let _ = parse(line);
    }
}
