//! What one page, one header, one name costs, without I/O. The engine is the one the library is built with:
//! `scripts/bench.sh --micro` runs it with each.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rekeyfs_format::content::{block, layout};
use rekeyfs_format::crypto::keys::{Dek, KeyMaterial, TreeKey};
use rekeyfs_format::crypto::random;
use rekeyfs_format::crypto::suite::Suite;
use rekeyfs_format::header::{self, Header, Rewrapped, SLOTS, UnwrapFailure};
use rekeyfs_format::ids::{
    BackingKeyId, DirId, FileId, Format, KeyId, KeyVersion, PageIndex, PlainOffset, SegmentIndex, VaultId,
};
use rekeyfs_format::names::NameCipher;

const ENGINE: &str = if cfg!(feature = "aws-lc") { "aws-lc" } else { "rustcrypto" };

fn pages(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("page/{ENGINE}"));
    group.throughput(Throughput::Bytes(4068));
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let key = Dek::generate().content_key(suite, FileId::random(), SegmentIndex(0));
        let (page, mut lower, mut out) = (PageIndex(1), vec![7; 4096], vec![0; 4068]);
        group.bench_function(format!("seal/{suite}"), |b| {
            b.iter(|| block::seal(&key, page, &random::array(), black_box(&mut lower)));
        });
        block::seal(&key, page, &random::array(), &mut lower);
        group.bench_function(format!("open/{suite}"), |b| {
            b.iter(|| block::open(&key, page, black_box(&lower), &mut out).unwrap());
        });
    }
    group.finish();
}

fn headers(c: &mut Criterion) {
    let (vault, file, suite) = (VaultId::random(), FileId::random(), Suite::Aes256Gcm);
    let backing = BackingKeyId { key: KeyId::random(), version: KeyVersion(3) };
    let material = KeyMaterial::generate();
    let wrapping = material.wrapping_key(vault, backing);
    let dek = Dek::generate();
    let context = rekeyfs_format::crypto::keys::WrapContext {
        vault,
        file,
        backing,
        suite: suite.number(),
        format: Format::CURRENT,
    };
    let wrapped = wrapping.wrap_dek(&context, &dek);
    let mut slots = [0; SLOTS];
    let wrap = Rewrapped { backing, wrapped: &wrapped, tag: None };
    let slot = Header::new(file, suite, &wrap, dek).to_slot();
    slots[..slot.len()].copy_from_slice(&slot);
    let open = || {
        header::open(black_box(&slots), |slot| {
            let opened = wrapping.unwrap_dek(&slot.wrap_context(vault), &slot.wrapped());
            opened.map_err(|_| UnwrapFailure::<()>::Failed)
        })
    };
    c.bench_function("header/open: unwrap and MAC (limit 10 µs)", |b| b.iter(|| open().is_ok()));
    c.bench_function("header/unwrap the DEK alone", |b| {
        b.iter(|| wrapping.unwrap_dek(black_box(&context), black_box(&wrapped)).is_ok());
    });
    c.bench_function("header/derive a version's wrapping key", |b| {
        b.iter(|| material.wrapping_key(vault, backing))
    });
    let header = open().ok();
    c.bench_function("header/derive a segment's content key", |b| {
        b.iter(|| header.as_ref().map(|header| header.content_key(SegmentIndex(black_box(1)))));
    });
}

fn names(c: &mut Criterion) {
    let tree = TreeKey::generate();
    let (cipher, root) = (NameCipher::new(&tree), tree.root_dir_id());
    for (what, name) in [
        ("8 bytes", "Makefile"),
        ("60 bytes", "a-name-of-sixty-bytes-as-photos-and-downloads-have-them.jpeg"),
    ] {
        let lower = cipher.encrypt(root, name.as_bytes());
        c.bench_function(&format!("name/encrypt {what}"), |b| {
            b.iter(|| cipher.encrypt(black_box(root), name.as_bytes()))
        });
        c.bench_function(&format!("name/decrypt {what}"), |b| {
            b.iter(|| cipher.decrypt(black_box(root), lower.full()).is_ok());
        });
    }
    let lower = cipher.encrypt(root, b"src");
    c.bench_function("name/derive a directory's id", |b| {
        b.iter(|| -> DirId { tree.dir_id(black_box(root), lower.entry()) })
    });
}

fn offsets(c: &mut Criterion) {
    c.bench_function("offsets/1 MiB into pieces", |b| {
        b.iter(|| {
            layout::pieces(PlainOffset(black_box(12_345)), 1 << 20)
                .map(|piece| piece.within.len())
                .sum::<usize>()
        });
    });
}

criterion_group!(benches, pages, headers, names, offsets);
criterion_main!(benches);
