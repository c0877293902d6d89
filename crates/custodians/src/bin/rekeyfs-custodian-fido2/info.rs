//! What a FIDO2 key says it can do.

/// What a key says of itself.
pub(super) struct Info {
    pub(super) has_hmac_secret: bool,
    pub(super) has_pin: bool,
    /// Whether it does nothing without its PIN (or what stands for it).
    pub(super) always_verifies: bool,
    /// How many wrong PINs it still takes.
    pub(super) pin_tries: Option<u32>,
}

impl Info {
    /// That of what fido2-token -I prints.
    pub(super) fn parse(text: &str) -> Self {
        let words = |label: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
            line.split(',').map(str::trim).collect::<Vec<_>>()
        };
        let options = words("options:");
        Self {
            has_hmac_secret: words("extension strings:").contains(&"hmac-secret"),
            has_pin: options.contains(&"clientPin"),
            always_verifies: options.contains(&"alwaysUv"),
            pin_tries: words("pin retries:").first().and_then(|number| number.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_says_of_itself() {
        let text = "proto: 0x02\nversion strings: FIDO_2_0\nextension strings: credProtect, hmac-secret\n\
                    options: rk, up, noplat, noalwaysUv, clientPin\npin retries: 8\nuv retries: undefined\n";
        let info = Info::parse(text);
        assert!(info.has_hmac_secret && info.has_pin && !info.always_verifies);
        assert_eq!(info.pin_tries, Some(8));
        let info = Info::parse(&text.replace("clientPin", "noclientPin").replace("noalways", "always"));
        assert!(!info.has_pin && info.always_verifies);
        let info = Info::parse("proto: 0x02\npin retries: \x1b[2J\n");
        assert!(!info.has_hmac_secret && info.pin_tries.is_none());
    }
}
