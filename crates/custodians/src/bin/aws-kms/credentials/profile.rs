//! Files of profiles, as the AWS command has them: `~/.aws/credentials` with sections `[NAME]`, `~/.aws/config` with `[profile
//! NAME]`. `file=` of the host's list names others instead.

use std::path::PathBuf;

use configparser::ini::{Ini, IniDefault};
use rekeyfs_custodians::{Allowed, Kind, Refusal};

use super::access_key::variable;

/// What is known of the profile that is used.
pub(in super::super) struct Profiles {
    files: Vec<Ini>,
    name: String,
}

impl Profiles {
    /// Reads the files. Those that nobody named needn't be there.
    ///
    /// # Errors
    /// [`Kind::NotFound`]: one can't be read, or isn't such a file; or `AWS_PROFILE` names a profile that isn't there.
    pub(in super::super) fn read(allowed: &Allowed) -> Result<Self, Refusal> {
        let named: Vec<PathBuf> = allowed.all("file").iter().map(PathBuf::from).collect();
        let usual =
            || ["credentials", "config"].into_iter().zip(["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"]);
        let home = || variable("HOME").map(PathBuf::from);
        let mut files = Vec::new();
        if named.is_empty() {
            for (file, by_variable) in usual() {
                let path = variable(by_variable).map(PathBuf::from);
                let path = path.or_else(|| Some(home()?.join(".aws").join(file)));
                if let Some(path) = path.filter(|path| path.exists()) {
                    files.push(parse(&path)?);
                }
            }
        } else {
            for path in named {
                files.push(parse(&path)?);
            }
        }
        let asked = variable("AWS_PROFILE");
        let profiles = Self { files, name: asked.clone().unwrap_or_else(|| "default".to_owned()) };
        match asked {
            Some(name) if !profiles.is_there() => {
                Err(Refusal::new(Kind::NotFound, format!("there is no profile {name:?} of AWS_PROFILE")))
            }
            _ => Ok(profiles),
        }
    }

    /// What the profile has under a name, in the first file that has it.
    pub(in super::super) fn value(&self, key: &str) -> Option<String> {
        let sections = self.sections();
        let in_file = |file: &Ini| sections.iter().find_map(|section| file.get(section, key));
        self.files.iter().find_map(in_file).filter(|value| !value.is_empty())
    }

    /// The region of `AWS_REGION`, `AWS_DEFAULT_REGION`, or else of the profile.
    pub(in super::super) fn region(&self) -> Option<String> {
        variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).or_else(|| self.value("region"))
    }

    fn is_there(&self) -> bool {
        let sections = self.sections();
        self.files.iter().any(|file| file.sections().iter().any(|name| sections.contains(name)))
    }

    fn sections(&self) -> [String; 2] {
        [self.name.clone(), format!("profile {}", self.name)]
    }
}

fn parse(path: &std::path::Path) -> Result<Ini, Refusal> {
    let mut usual = IniDefault::default();
    // As the AWS command reads them: a section's default is none of others, `:` is part of a value, `#` in one too.
    usual.default_section = "\0".to_owned();
    usual.delimiters = vec!['='];
    usual.comment_symbols = vec!['#', ';'];
    usual.inline_comment_symbols = Some(Vec::new());
    usual.case_sensitive = true;
    let mut file = Ini::new_from_defaults(usual);
    let wrong = |why: String| Refusal::new(Kind::NotFound, format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    // Its errors quote what they found.
    file.read(text).map_err(|_| wrong("it is no file of profiles".to_owned()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn profiles_are_read_as_the_aws_command_reads_them() {
        let dir = std::env::temp_dir().join(format!("rekeyfs-profiles-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (secrets, config) = (dir.join("secrets"), dir.join("config"));
        let secret = "wJalr/K7MD:ENG+#bPx=";
        std::fs::write(&secrets, format!("# mine\n[other]\naws_access_key_id = OTHER\n[default]\naws_access_key_id = AKID\naws_secret_access_key = {secret}\n")).unwrap();
        std::fs::write(
            &config,
            "[default]\nregion = eu-central-1\n[profile other]\ncredential_process = /bin/x a:b\n",
        )
        .unwrap();
        let allowed: Allowed = serde_json::from_value(json!({"file": [secrets, config]})).unwrap();
        let mut profiles = Profiles::read(&allowed).unwrap();
        let value = |profiles: &Profiles, key: &str| profiles.value(key);
        assert_eq!(value(&profiles, "aws_access_key_id").as_deref(), Some("AKID"));
        assert_eq!(value(&profiles, "aws_secret_access_key").as_deref(), Some(secret));
        assert_eq!(value(&profiles, "region").as_deref(), Some("eu-central-1"));
        assert_eq!(value(&profiles, "credential_process"), None, "another profile's");
        profiles.name = "other".to_owned();
        assert_eq!(value(&profiles, "aws_access_key_id").as_deref(), Some("OTHER"));
        assert_eq!(value(&profiles, "credential_process").as_deref(), Some("/bin/x a:b"));
        assert_eq!(value(&profiles, "region"), None);
        let gone: Allowed = serde_json::from_value(json!({"file": [dir.join("gone")]})).unwrap();
        assert_eq!(Profiles::read(&gone).err().map(|refusal| refusal.kind()), Some(Kind::NotFound));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
