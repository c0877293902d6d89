//! The files, and those of before.
use super::*;

#[test]
fn files_of_before_are_read_until_there_is_one_of_the_vault() {
    let dir = tempfile::tempdir().unwrap();
    let memory = SeenGenerations::at(dir.path().to_owned());
    let vault = VaultId::from_bytes([3; 16]);
    // As the programs of before wrote it, byte by byte.
    let old = |path: &str, generation: u64, hash: &str| {
        let path = HEXLOWER.encode(path.as_bytes());
        let sum = HEXLOWER.encode(&sha256(format!("{vault} {path} {generation} {hash}").as_bytes()));
        format!(
            "{{\"vault\":\"{vault}\",\"path\":\"{path}\",\"generation\":{generation},\"sha256\":\"{hash}\",\
             \"checksum\":\"{sum}\"}}"
        )
    };
    let hash = "ab".repeat(32);
    let file = |place: &str| dir.path().join(format!("{vault}-{place}.seen"));
    fs::write(file("0011223344556677"), old("/v", 5, &hash)).unwrap();
    fs::write(file("8899aabbccddeeff"), old("/copy", 3, &hash)).unwrap();
    fs::write(file("ffffffffffffffff"), old("/torn", 9, &hash).replace(":9,", ":10,")).unwrap();
    assert_eq!(memory.generation(vault, Path::new("/copy")), Some(Generation(3)));
    assert_eq!(memory.generation(vault, Path::new("/elsewhere")), Some(Generation(5)));
    assert_eq!(memory.newest(vault, Path::new("/copy")), Some(Generation(5)));

    let body = crate::keyring::open::first_body(vault, crate::ids::Timestamp(0)).unwrap();
    let root = crate::crypto::keys::RootKey::generate().commitment(vault);
    let head = Head { generation: Generation(5), hash: [0xab; 32] };
    let found = Sighting { vault, path: Path::new("/v"), head, root, body: &body };
    assert_eq!(memory.check(&found), RollbackCheck::Fine);
    memory.follow(&found);
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [OsString::from(format!("{vault}.seen"))]);
    assert_eq!(memory.generation(vault, Path::new("/copy")), Some(Generation(3)));
    assert_eq!(memory.generation(vault, Path::new("/elsewhere")), Some(Generation(5)));
    // Another vault's aren't touched, and of it nothing is known.
    assert_eq!(memory.generation(VaultId::from_bytes([4; 16]), Path::new("/v")), None);
}

/// Else a power cut leaves a name without bytes on some filesystems, and with it all that was remembered is gone.
#[test]
fn a_record_is_on_the_disk_before_it_takes_the_place_of_the_one_before() {
    use crate::storage::fault::{Faults, Op};
    let dir = tempfile::tempdir().unwrap();
    let recorded = Faults::record();
    {
        let _scope = recorded.on_this_thread();
        write(dir.path(), b"record", b"bytes").unwrap();
    }
    assert_eq!(recorded.log(), [Op::Create, Op::Pwrite, Op::Fdatasync, Op::Rename]);
    let failing = Faults::fail_once(2, storage::Errno::IO);
    {
        let _scope = failing.on_this_thread();
        write(dir.path(), b"record", b"others").unwrap_err();
    }
    assert_eq!(fs::read(dir.path().join("record")).unwrap(), b"bytes");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
