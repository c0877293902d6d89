//! FIDO2 keys that are plugged in, as fido2-token lists them, and what fido2-cred and fido2-assert have one do.
//!
//! These programs read what they are to do as lines, and then the PIN, from their standard input where there is no terminal. They read
//! lines ahead, and would lose a PIN that is there already: so the lines, which have no secret, are in a file of memory, and standard
//! input has the PIN alone. What a key computes comes by standard output. The one argument that isn't fixed is the path of a device.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use data_encoding::BASE64;
use rekeyfs_custodians::{Ended, Kind, Refusal, Secret, Tool};
use rekeyfs_format::crypto::random;
use rustix::fs::{MemfdFlags, memfd_create};
use zeroize::Zeroizing;

use super::info::Info;
use super::params::{Credential, RP, is_id};
use super::said::{self, Code};

/// The most keys that are asked whether they have a credential.
const MAX_DEVICES: usize = 16;
/// What is shown of what a key says of its maker, in characters.
const MAX_ABOUT: usize = 64;
/// Why a key that was not chosen by name can't be told.
const NONE: &str = "no FIDO2 key is plugged in, or its device isn't for this user; plug it in";

/// A key that is plugged in.
pub(super) struct Device {
    /// Its device.
    path: String,
    /// Whose product it is, for a person: `(Yubico YubiKey FIDO)`.
    pub(super) about: String,
}

/// Whether a key has a credential.
enum Knows {
    Yes,
    No,
    /// It doesn't say without a PIN.
    Unclear,
    /// It couldn't be asked.
    Failed(Refusal),
}

impl Device {
    /// Those that are plugged in.
    fn all() -> Result<Vec<Self>, Refusal> {
        let ended = said::run(Tool::new("fido2-token").arg("-L"), b"")?;
        if !ended.success {
            return Err(said::refusal("listing FIDO2 keys", &ended));
        }
        let text = String::from_utf8_lossy(&ended.out);
        Ok(text.lines().filter_map(Self::listed).take(MAX_DEVICES).collect())
    }

    /// That of a line of fido2-token's: `/dev/hidraw0: vendor=0x1050, product=0x0407 (Yubico YubiKey FIDO)`.
    fn listed(line: &str) -> Option<Self> {
        let (path, rest) = line.split_once(": vendor=")?;
        // What a key says of its maker may have the end of a line in it, and a line of its own behind that: opening some devices does
        // something. Nor is an argument that begins so an option.
        let number = path.strip_prefix("/dev/hidraw")?;
        let is_device = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let about = rest.find('(').map_or("", |at| rest[at..].trim());
        is_device.then(|| Self { path: path.to_owned(), about: about.chars().take(MAX_ABOUT).collect() })
    }

    /// The file name of its device.
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The key to make a credential with: the one of this name, or the only one.
    pub(super) fn named(name: Option<&str>) -> Result<Self, Refusal> {
        let mut all = Self::all()?;
        let listed: Vec<String> =
            all.iter().map(|device| format!("{} {}", device.name(), device.about)).collect();
        let listed = listed.join(", ");
        let Some(name) = name else {
            return match (all.pop(), all.is_empty()) {
                (None, _) => Err(Refusal::new(Kind::Offline, NONE)),
                (Some(only), true) => Ok(only),
                (Some(_), false) => {
                    let cause = format!(
                        "several FIDO2 keys are plugged in ({listed}); name one, as in --fido2=hidraw0"
                    );
                    Err(Refusal::new(Kind::Unsupported, cause))
                }
            };
        };
        let cause = if listed.is_empty() {
            NONE.to_owned()
        } else {
            format!("it isn't plugged in; there are: {listed}")
        };
        let named = all.into_iter().find(|device| device.path == name || device.name() == name);
        named.ok_or_else(|| Refusal::new(Kind::Offline, cause))
    }

    /// The key that has a credential. No PIN and no touch is needed to find it.
    pub(super) fn with(credential: &Credential) -> Result<Self, Refusal> {
        let (mut unclear, mut failed) = (Vec::new(), None);
        let all = Self::all()?;
        let number = all.len();
        for device in all {
            match device.knows(credential)? {
                Knows::Yes => return Ok(device),
                Knows::No => {}
                Knows::Unclear => unclear.push(device),
                Knows::Failed(refusal) => failed = Some(refusal),
            }
        }
        if let (Some(only), true) = (unclear.pop(), unclear.is_empty()) {
            return Ok(only);
        }
        let isnt = |cause| Refusal::new(Kind::NotFound, cause);
        Err(failed.unwrap_or_else(|| match number {
            0 => Refusal::new(Kind::Offline, NONE),
            1 => isnt("the FIDO2 key that is plugged in isn't this slot's"),
            _ => isnt("none of the FIDO2 keys that are plugged in is this slot's"),
        }))
    }

    fn knows(&self, credential: &Credential) -> Result<Knows, Refusal> {
        let id = BASE64.encode(&credential.id);
        let tool = Tool::new("fido2-assert").arg("-G").arg("-t").arg("up=false");
        let ended = self.run(tool, &[&challenge(), RP, &id], None)?;
        Ok(match said::code(&ended) {
            _ if ended.success => Knows::Yes,
            Some(Code::PinRequired | Code::Unauthorized) => Knows::Unclear,
            None | Some(Code::Busy | Code::Gone) => {
                Knows::Failed(said::refusal("looking for the slot's key", &ended))
            }
            Some(_) => Knows::No,
        })
    }

    pub(super) fn info(&self) -> Result<Info, Refusal> {
        let ended = said::run(Tool::new("fido2-token").arg("-I").arg(&self.path), b"")?;
        if !ended.success {
            return Err(said::refusal("asking the FIDO2 key what it can do", &ended));
        }
        Ok(Info::parse(&String::from_utf8_lossy(&ended.out)))
    }

    /// Makes a credential for the salts of slots, and gives its id.
    pub(super) fn make_credential(&self, user: &str, pin: Option<&str>) -> Result<Vec<u8>, Refusal> {
        let mut tool = Tool::new("fido2-cred").arg("-M").arg("-h");
        if pin.is_none() {
            tool = tool.arg("-q");
        }
        let ended = self.run(tool, &[&challenge(), RP, user, &challenge()], pin)?;
        if !ended.success {
            return Err(self.refusal("making a credential", &ended));
        }
        let id = line(&ended, 4).and_then(|text| BASE64.decode(text.as_bytes()).ok());
        id.filter(|id| is_id(id)).ok_or_else(|| no_answer("fido2-cred"))
    }

    /// What the key computes from the credential's salt.
    pub(super) fn hmac_secret(&self, credential: &Credential, pin: Option<&str>) -> Result<Secret, Refusal> {
        let up = format!("up={}", credential.terms.touch);
        let tool = Tool::new("fido2-assert").arg("-G").arg("-h").arg("-t").arg(up);
        let tool = tool.arg("-t").arg(format!("pin={}", pin.is_some()));
        let (id, salt) = (BASE64.encode(&credential.id), BASE64.encode(&credential.salt));
        let ended = self.run(tool, &[&challenge(), RP, &id, &salt], pin)?;
        if !ended.success {
            return Err(self.refusal("computing the slot's secret", &ended));
        }
        line(&ended, 4).and_then(Secret::from_base64).ok_or_else(|| no_answer("fido2-assert"))
    }

    fn run(&self, tool: Tool, lines: &[&str], pin: Option<&str>) -> Result<Ended, Refusal> {
        let input =
            in_memory(lines).map_err(|error| Refusal::new(Kind::Internal, format!("memfd: {error}")))?;
        let tool = tool.arg("-i").arg(format!("/proc/self/fd/{}", input.as_raw_fd())).arg(&self.path);
        let pin = pin.unwrap_or_default();
        let mut typed = Zeroizing::new(Vec::with_capacity(pin.len() + 1));
        typed.extend_from_slice(pin.as_bytes());
        typed.push(b'\n');
        said::run(tool, if pin.is_empty() { b"" } else { &typed })
    }

    /// The refusal for what one of the programs said. A wrong PIN comes with the number of tries that are left.
    fn refusal(&self, doing: &str, ended: &Ended) -> Refusal {
        let refusal = said::refusal(doing, ended);
        if refusal.kind() != Kind::Pin {
            return refusal;
        }
        let tries = self.info().ok().and_then(|info| info.pin_tries);
        if tries == Some(0) { said::blocked() } else { refusal.tries_left(tries) }
    }
}

/// Lines in a file of memory, which programs inherit.
fn in_memory(lines: &[&str]) -> std::io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("fido2", MemfdFlags::empty())?);
    for line in lines {
        file.write_all(format!("{line}\n").as_bytes())?;
    }
    Ok(file.into())
}

/// 32 random bytes: a signature that nobody looks at is over them.
fn challenge() -> String {
    BASE64.encode(&random::array::<32>())
}

/// A line of what fido2-cred or fido2-assert printed, if that is for rekeyfs' credentials.
fn line(ended: &Ended, at: usize) -> Option<&str> {
    let mut lines =
        ended.out.split(|b| *b == b'\n').map(|line| std::str::from_utf8(line).unwrap_or_default());
    let all: Vec<&str> = lines.by_ref().take(at + 1).collect();
    all.get(1).filter(|rp| **rp == RP)?;
    all.get(at).copied()
}

fn no_answer(program: &str) -> Refusal {
    Refusal::new(Kind::Internal, format!("{program} printed something else than its manual says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_those_of_hid_and_no_options_whatever_a_key_says_of_its_maker() {
        let listed =
            Device::listed("/dev/hidraw0: vendor=0x1050, product=0x0407 (Yubico YubiKey OTP+FIDO)").unwrap();
        assert_eq!((listed.path.as_str(), listed.name()), ("/dev/hidraw0", "hidraw0"));
        assert_eq!(listed.about, "(Yubico YubiKey OTP+FIDO)");
        assert_eq!(Device::listed("/dev/hidraw12: vendor=0x1, product=0x2").unwrap().about, "");
        for other in [
            "-d: vendor=0x1",
            "",
            "x",
            "/dev/hidraw0",
            "hidraw0: vendor=0x1",
            "/dev/watchdog: vendor=0x1, product=0x2 (Example Key)",
            "/dev/hidraw: vendor=0x1",
            "/dev/hidraw0/../sda: vendor=0x1",
            "/dev/hidraw+1: vendor=0x1",
            "/dev/\x1b[2J: vendor=0x1",
            "--help",
        ] {
            assert!(Device::listed(other).is_none(), "{other:?}");
        }
    }
}
