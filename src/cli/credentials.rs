//! Credentials that systemd hands to a unit, as files below /run. Where one is missing its path says little: what has to be done
//! is in the unit and in the credential store.

use std::path::Path;

/// Where administrators put what units load by `LoadCredential=NAME`.
const STORE: &str = "/etc/credstore";

/// What to do about a file that can't be read because it isn't there, if it is where a unit's credentials are:
/// `/run/credentials/UNIT/NAME`. systemd leaves a credential out, without a failure, where `LoadCredential=NAME` finds no
/// file of that name.
pub(super) fn remedy(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let of_unit = path.parent()?;
    let unit = of_unit.file_name()?.to_str()?;
    if of_unit.parent()? != Path::new("/run/credentials") {
        return None;
    }
    Some(format!(
        "{unit} has no credential {name}: its LoadCredential={name} found no file {STORE}/{name}; put the secret into that, a \
         passphrase as its first line, or have the unit take another one (`systemctl edit {unit}`, docs/systemd.md)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_credential_is_told_by_its_unit_and_the_file_it_comes_from() {
        let told = remedy(Path::new("/run/credentials/rekeyfs@data.service/rekeyfs.data")).unwrap();
        for part in [
            "rekeyfs@data.service has no credential rekeyfs.data",
            "LoadCredential=rekeyfs.data",
            "/etc/credstore/rekeyfs.data;",
            "systemctl edit rekeyfs@data.service",
            "docs/systemd.md",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    #[test]
    fn other_files_are_no_credentials() {
        for path in
            ["/etc/credstore/rekeyfs.data", "/run/credentials/x", "credentials/u/n", "/run/x/u/n", "/", ""]
        {
            assert_eq!(remedy(Path::new(path)), None, "{path}");
        }
    }
}
