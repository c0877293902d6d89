use std::collections::HashSet;

use super::*;

const KEY: &str = "9ed05d81-fa93-4692-a3d4-d22149c2ab78";

#[test]
fn each_address_leads_to_its_page() {
    let mut known = HashSet::new();
    for route in ROUTES {
        assert!(known.insert((&route.method, route.path)), "{} {} twice", route.method, route.path);
        let Found::Page(found, key) = find(&route.method, &route.path.replace("{key}", KEY)) else {
            panic!("{} {}", route.method, route.path)
        };
        assert_eq!((found.path, &found.method), (route.path, &route.method));
        assert_eq!(key.map(|key| key.to_string()).is_some(), route.path.contains("{key}"));
        assert!(matches!(find(&Method::PUT, &route.path.replace("{key}", KEY)), Found::Not(_)));
    }
}

#[test]
fn other_addresses_lead_nowhere() {
    for path in [
        "",
        "/",
        "keys/",
        "/keys",
        "keys/x",
        "keys//policy",
        "keys/{key}",
        "keys/../keys",
        "Keys",
        "keys/create/x",
    ] {
        assert!(matches!(find(&Method::GET, path), Found::Nothing), "{path}");
    }
    for path in [format!("keys/{KEY}/"), format!("keys/{KEY}x"), format!("keys/{KEY}/policy/edit/x")] {
        assert!(matches!(find(&Method::GET, &path), Found::Nothing), "{path}");
    }
}
