//! The lists of many keys, as clients page through them. The limits are for an unoptimized build: they tell a cost of all keys
//! for each item, or of all items for each page; scripts/many-keys.sh tells how long it takes.
use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::sys::testing::cpu_time;

/// The most processor time of either way through all lists.
const LIMIT: Duration = Duration::from_secs(5);

const KEYS: usize = 2_000;

/// All items of a list, page by page.
fn all(keys: &Keys, field: &str, limit: i64, call: impl Fn(Page) -> Call) -> Vec<Value> {
    let (mut items, mut marker) = (Vec::new(), None);
    loop {
        let answer = keys.call(&call(Page { limit: Some(limit), marker })).unwrap();
        let page = answer[field].as_array().unwrap();
        assert!(page.len() as i64 <= limit && answer["Truncated"] == answer.get("NextMarker").is_some());
        items.extend(page.iter().cloned());
        marker = answer["NextMarker"].as_str().map(str::to_owned);
        if marker.is_none() {
            return items;
        }
    }
}

fn texts(items: &[Value], field: &str) -> Vec<String> {
    items.iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn thousands_of_keys_are_listed_page_by_page_each_once_and_in_order() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    keys.add_many(KEYS, 1).unwrap();
    let (listed, took) = cpu_time(|| {
        let listed = texts(&all(&keys, "Keys", 2, |page| Call::ListKeys { page }), "KeyId");
        let known: Vec<String> = keys.keys().iter().map(|key| key.id.to_string()).collect();
        assert_eq!(listed, known);
        let aliases =
            texts(&all(&keys, "Aliases", 2, |page| Call::ListAliases { key_id: None, page }), "AliasName");
        assert!(aliases.is_sorted() && aliases.iter().collect::<HashSet<_>>().len() == aliases.len());
        assert_eq!(aliases.len(), keys.aliases().len());
        listed
    });
    assert!(took < LIMIT, "the lists took {took:?}");

    // What a client does that looks for tags.
    let ((), took) = cpu_time(|| {
        let tagged = listed.iter().filter(|key| {
            let tags = all(&keys, "Tags", 50, |page| Call::ListResourceTags { key_id: (*key).clone(), page });
            tags.iter().any(|tag| tag["TagValue"] == "7")
        });
        assert_eq!(tagged.count(), KEYS / 10);
        let of_one =
            all(&keys, "Aliases", 10, |page| Call::ListAliases { key_id: Some(listed[1500].clone()), page });
        assert_eq!(of_one.len(), 1);
    });
    assert!(took < LIMIT, "the tags took {took:?}");
}

#[test]
fn a_marker_that_names_nothing_of_the_list_is_refused() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    keys.add_many(2, 1).unwrap();
    let first = keys.keys()[1].id.to_string();
    for marker in ["", "none", "alias/none", &KeyId::random().to_string()] {
        let page = Page { limit: None, marker: Some(marker.to_owned()) };
        for call in
            [Call::ListKeys { page: page.clone() }, Call::ListAliases { key_id: None, page: page.clone() }]
        {
            let error = keys.call(&call).map_err(|error| KmsError::of(error).unwrap()).unwrap_err();
            assert_eq!(error.name, KmsErrorName::InvalidMarkerException, "{call:?}");
        }
    }
    // An alias of another key is none of this key's list.
    let page = Page { limit: None, marker: Some("alias/many-1".to_owned()) };
    assert!(keys.call(&Call::ListAliases { key_id: Some(first), page }).is_err());
}
