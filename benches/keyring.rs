//! A keyring of 10,000 keys with 25 versions each: opening it (limit 1 s) and a verb on it (limit 200 ms), on a
//! tmpfs so that it isn't the disk that is measured, and unwrapping through it as opening a file does (limit 10 µs).
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use rekeyfs::crypto::keys::Dek;
use rekeyfs::crypto::password::KdfParams;
use rekeyfs::crypto::suite::Suite;
use rekeyfs::ids::{AliasName, FileId, Format};
use rekeyfs::keyring::{KeyringFile, OpenOptions, SeenGenerations};
use rekeyfs::kms::Call;
use rekeyfs::unlock::Secret;

const KEYS: usize = 10_000;
const VERSIONS: u32 = 25;
const KDF: KdfParams = KdfParams { memory_kib: 8 << 10, passes: 1, lanes: 1 };

fn large_keyring(c: &mut Criterion) {
    let memory = Some(Path::new("/dev/shm")).filter(|path| path.is_dir());
    let dir = memory.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    let (vault, state) = (dir.path().join("vault"), dir.path().join("state"));
    std::fs::create_dir(&vault).unwrap();
    let secret = Secret::KeyFile(zeroize::Zeroizing::new([1; 32]));
    let options = OpenOptions { host: SeenGenerations::at(state), ..OpenOptions::default() };
    let made = KeyringFile::create(&vault, Suite::Aes256Gcm, &[&secret], KDF, &options).unwrap();
    made.keys.add_many(KEYS, VERSIONS).unwrap();
    drop(made);
    let open = || KeyringFile::open(&vault, &secret, &options).unwrap().keys;
    let keys = open();

    let mut group = c.benchmark_group("keyring of 10,000 keys with 25 versions");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.bench_function("open (limit 1 s)", |b| b.iter(open));
    let mut on = true;
    group.bench_function("a verb that changes it (limit 200 ms)", |b| {
        b.iter(|| {
            on = !on;
            let key_id = "alias/many-9999".to_owned();
            let call = match on {
                true => Call::EnableKeyRotation { key_id, rotation_period_in_days: None },
                false => Call::DisableKeyRotation { key_id },
            };
            keys.call(&call).unwrap()
        });
    });
    group.bench_function("a verb that reads it", |b| {
        b.iter(|| keys.call(&Call::DescribeKey { key_id: "alias/many-9999".to_owned() }).unwrap());
    });
    group.finish();

    let (file, dek) = (FileId::random(), Dek::generate());
    let alias: AliasName = "alias/many-5000".parse().unwrap();
    let (backing, wrapped) = {
        let guard = keys.begin_wrap(&alias).unwrap();
        (guard.backing(), guard.wrap(file, Suite::Aes256Gcm, &dek))
    };
    c.bench_function("unwrap through that keyring (limit 10 µs)", |b| {
        b.iter(|| keys.unwrap(black_box(backing), file, Suite::Aes256Gcm, Format::CURRENT, &wrapped).is_ok());
    });
}

criterion_group!(benches, large_keyring);
criterion_main!(benches);
