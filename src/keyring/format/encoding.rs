//! The serde forms of what serde has none for, or another than the body's: byte arrays, ids and keys, raw.

/// Byte arrays of any length that is a multiple of 8, raw (serde itself stops at 32 bytes, and takes each by
/// itself). They go as 64-bit words, whose bytes are these bytes: a large keyring has millions of them.
pub(in crate::keyring::format) mod raw {
    use std::fmt;

    use serde::de::{Error, SeqAccess, Visitor};
    use serde::ser::SerializeTuple;
    use serde::{Deserializer, Serializer};

    const WORD: usize = 8;

    pub(in crate::keyring) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        const { assert!(N.is_multiple_of(WORD)) }
        let mut tuple = serializer.serialize_tuple(N / WORD)?;
        for word in bytes.as_chunks::<WORD>().0 {
            tuple.serialize_element(&u64::from_le_bytes(*word))?;
        }
        tuple.end()
    }

    pub(in crate::keyring) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let mut out = [0; N];
        deserialize_into(deserializer, &mut out)?;
        Ok(out)
    }

    /// Fills `out` in place, so that a secret isn't copied on the way.
    pub(in crate::keyring) fn deserialize_into<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
        out: &mut [u8; N],
    ) -> Result<(), D::Error> {
        struct Fill<'a, const N: usize>(&'a mut [u8; N]);
        impl<'de, const N: usize> Visitor<'de> for Fill<'_, N> {
            type Value = ();
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{N} bytes")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
                for word in self.0.as_chunks_mut::<WORD>().0 {
                    let next: u64 = seq.next_element()?.ok_or_else(|| A::Error::custom("too few bytes"))?;
                    *word = next.to_le_bytes();
                }
                Ok(())
            }
        }
        const { assert!(N.is_multiple_of(WORD)) }
        deserializer.deserialize_tuple(N / WORD, Fill(out))
    }
}

/// Ids as their 16 raw bytes (their own serde form is text, or bytes after a length).
pub(in crate::keyring::format) mod id16 {
    use serde::{Deserializer, Serializer};

    use crate::ids::{KeyId, TreeKeyId};

    pub(in crate::keyring) trait Id16 {
        fn of(bytes: [u8; 16]) -> Self;
        fn raw(&self) -> &[u8; 16];
    }

    macro_rules! id16 {
        ($($id:ident),*) => {
            $(impl Id16 for $id {
                fn of(bytes: [u8; 16]) -> Self {
                    Self::from_bytes(bytes)
                }
                fn raw(&self) -> &[u8; 16] {
                    self.as_bytes()
                }
            })*
        };
    }
    id16!(KeyId, TreeKeyId);

    pub(in crate::keyring) fn serialize<S: Serializer, I: Id16>(id: &I, s: S) -> Result<S::Ok, S::Error> {
        super::raw::serialize(id.raw(), s)
    }

    pub(in crate::keyring) fn deserialize<'de, D: Deserializer<'de>, I: Id16>(d: D) -> Result<I, D::Error> {
        super::raw::deserialize(d).map(I::of)
    }
}

/// Keys, which have no serde of their own on purpose, as their 32 raw bytes.
pub(in crate::keyring::format) mod secret {
    use std::sync::Arc;

    use serde::{Deserializer, Serializer};
    use zeroize::Zeroizing;

    use crate::crypto::keys::{EventKey, KeyMaterial};

    pub(in crate::keyring) trait Secret32 {
        fn of(bytes: &[u8; 32]) -> Self;
        fn raw(&self) -> &[u8; 32];
    }

    macro_rules! secret32 {
        ($($key:ident),*) => {
            $(impl Secret32 for $key {
                fn of(bytes: &[u8; 32]) -> Self {
                    Self::from_bytes(bytes)
                }
                fn raw(&self) -> &[u8; 32] {
                    self.expose()
                }
            })*
        };
    }
    secret32!(EventKey, KeyMaterial);

    pub(in crate::keyring) fn serialize<S: Serializer, K: Secret32>(
        key: &Arc<K>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        super::raw::serialize(key.raw(), s)
    }

    pub(in crate::keyring) fn deserialize<'de, D: Deserializer<'de>, K: Secret32>(
        d: D,
    ) -> Result<Arc<K>, D::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        super::raw::deserialize_into(d, &mut bytes)?;
        Ok(Arc::new(K::of(&bytes)))
    }

    /// The same, where there may be none.
    pub(in crate::keyring::format) mod optional {
        use std::fmt;
        use std::marker::PhantomData;
        use std::sync::Arc;

        use serde::de::Visitor;
        use serde::{Deserializer, Serialize, Serializer};

        use super::Secret32;

        struct Raw<'a, K>(&'a Arc<K>);

        impl<K: Secret32> Serialize for Raw<'_, K> {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                super::serialize(self.0, s)
            }
        }

        pub(in crate::keyring) fn serialize<S: Serializer, K: Secret32>(
            key: &Option<Arc<K>>,
            s: S,
        ) -> Result<S::Ok, S::Error> {
            match key {
                Some(key) => s.serialize_some(&Raw(key)),
                None => s.serialize_none(),
            }
        }

        pub(in crate::keyring) fn deserialize<'de, D: Deserializer<'de>, K: Secret32>(
            d: D,
        ) -> Result<Option<Arc<K>>, D::Error> {
            struct Optional<K>(PhantomData<K>);
            impl<'de, K: Secret32> Visitor<'de> for Optional<K> {
                type Value = Option<Arc<K>>;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a key or none")
                }
                fn visit_none<E>(self) -> Result<Self::Value, E> {
                    Ok(None)
                }
                fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
                    super::deserialize(d).map(Some)
                }
            }
            d.deserialize_option(Optional(PhantomData))
        }
    }
}
