//! SELinux contexts of a mount (`context=`, `fscontext=`, `defcontext=`, `rootcontext=`), which the kernel takes with the mount.
//!
//! Where SELinux isn't enabled the kernel refuses them. As mount(8) does, they are left out there: one fstab serves many hosts.

use std::path::Path;

/// The options that name a context.
const NAMES: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// One of these options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecurityContext {
    name: &'static str,
    value: String,
}

impl SecurityContext {
    /// The option with this name and value; quotation marks around the value, as in fstab, are taken off.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(name: &[u8], value: &[u8]) -> Result<Self, &'static str> {
        let name =
            NAMES.into_iter().find(|known| known.as_bytes() == name).ok_or("not the name of a context")?;
        let value = std::str::from_utf8(value).map_err(|_| "no text")?;
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        if value.is_empty() {
            return Err("it is empty");
        }
        if value.contains(|c: char| c == '"' || c.is_control()) {
            return Err("it holds a quotation mark or a control character");
        }
        Ok(Self { name, value: value.to_owned() })
    }

    /// As the kernel takes it from root: in quotation marks, since categories are parted by commas.
    pub(super) fn for_kernel(&self) -> String {
        format!(",{}=\"{}\"", self.name, self.value)
    }

    /// As fusermount3 takes it, which parts options at each comma.
    pub(super) fn for_helper(&self) -> Option<String> {
        (!self.value.contains(',')).then(|| format!(",{}={}", self.name, self.value))
    }

    /// Its option's name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

/// Whether the kernel takes contexts.
pub(super) fn selinux_is_enabled() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_reaches_the_kernel_whole() {
        let context =
            SecurityContext::new(b"context", b"\"system_u:object_r:user_home_t:s0:c1,c2\"").unwrap();
        assert_eq!(context.for_kernel(), ",context=\"system_u:object_r:user_home_t:s0:c1,c2\"");
        assert_eq!(context.for_helper(), None, "fusermount3 would cut it");
        let plain = SecurityContext::new(b"rootcontext", b"a:b:c:s0").unwrap();
        assert_eq!(plain.for_helper().unwrap(), ",rootcontext=a:b:c:s0");
        for value in [b"".as_slice(), b"\"\"", b"a\"b", b"a\nb", b"\xff"] {
            assert!(SecurityContext::new(b"context", value).is_err(), "{value:?}");
        }
        assert!(SecurityContext::new(b"subtype", b"x").is_err());
    }
}
