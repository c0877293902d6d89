//! Key roles round-trip, refuse what isn't theirs, and the two content engines agree.
use super::keys::*;
#[cfg(feature = "aws-lc")]
use super::{page::ContentKey, random, suite::Suite};
use crate::ids::*;

fn context() -> WrapContext {
    WrapContext {
        vault: VaultId::random(),
        file: FileId::random(),
        backing: BackingKeyId { key: KeyId::random(), version: KeyVersion(3) },
        suite: 1,
        format: Format::CURRENT,
    }
}

#[test]
fn what_a_new_file_draws_is_wrapped_as_any_dek_and_never_the_same() {
    let key = KeyMaterial::generate().wrapping_key(VaultId::random(), context().backing);
    let mut drawn = Vec::new();
    for _ in 0..64 {
        let new = NewFile::draw();
        let context = WrapContext { file: new.id(), ..context() };
        let (wrapped, dek) = key.wrap_new(&context, new);
        let again = key.unwrap_dek(&context, &wrapped).unwrap();
        let print = |dek: &Dek| dek.header_mac_key(context.file).mac(b"x").to_vec();
        assert_eq!(print(&dek), print(&again));
        let nonce = wrapped[..crate::crypto::seal::NONCE].to_vec();
        drawn.extend([
            context.file.as_bytes().to_vec(),
            nonce,
            dek.header_mac_key(FileId::from_random([0; 16])).mac(b"x").to_vec(),
        ]);
    }
    let all = drawn.len();
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn.len(), all, "ids, nonces and DEKs are drawn for each file");
}

#[test]
fn wrapped_dek_is_bound_to_its_context() {
    let context = context();
    let key = KeyMaterial::generate().wrapping_key(context.vault, context.backing);
    let dek = Dek::generate();
    let wrapped = key.wrap_dek(&context, &dek);
    let again = key.unwrap_dek(&context, &wrapped).unwrap();
    assert_eq!(dek.header_mac_key(context.file).mac(b"x"), again.header_mac_key(context.file).mac(b"x"));
    for other in [
        WrapContext { file: FileId::random(), ..context },
        WrapContext { vault: VaultId::random(), ..context },
        WrapContext { suite: 2, ..context },
        WrapContext { format: Format(2), ..context },
        WrapContext { backing: BackingKeyId { version: KeyVersion(4), ..context.backing }, ..context },
    ] {
        assert!(key.unwrap_dek(&other, &wrapped).is_err());
    }
    for i in 0..wrapped.len() {
        let mut bad = wrapped;
        bad[i] ^= 1;
        assert!(key.unwrap_dek(&context, &bad).is_err());
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn each_engine_opens_what_the_other_sealed() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        for len in [0, 1, 15, 16, 17, 3044, 4068] {
            let key: [u8; 32] = random::array();
            let engines = [ContentKey::aws_lc(suite, &key), ContentKey::rust_crypto(suite, &key)];
            let mut plain = vec![0; len];
            random::fill(&mut plain);
            for (sealer, opener) in [(0, 1), (1, 0)] {
                let nonce = random::array();
                let mut sealed = plain.clone();
                let tag = engines[sealer].seal(&nonce, 7, &mut sealed);
                let mut out = vec![0; len];
                engines[opener].open(&nonce, 7, &sealed, &tag, &mut out).unwrap();
                assert_eq!(out, plain);
                assert!(engines[opener].open(&nonce, 8, &sealed, &tag, &mut out).is_err());
                let mut bad = tag;
                bad[0] ^= 1;
                assert!(engines[opener].open(&nonce, 7, &sealed, &bad, &mut out).is_err());
            }
        }
    }
}

#[test]
fn keyring_and_slot_refuse_other_aad() {
    let (vault, slot) = (VaultId::random(), SlotId::random());
    let root = RootKey::generate();
    let sealed = root.seal_keyring(vault, b"aad", b"body");
    assert_eq!(root.open_keyring(vault, b"aad", &sealed).unwrap().as_slice(), b"body");
    assert!(root.open_keyring(vault, b"other", &sealed).is_err());
    let kek = SlotKek::generate();
    let wrapped = kek.wrap_root(vault, slot, b"aad", &root);
    assert_eq!(kek.unwrap_root(vault, slot, b"aad", &wrapped).unwrap().expose(), root.expose());
    assert!(kek.unwrap_root(vault, slot, b"other", &wrapped).is_err());
}
