//! Lists of a service that has 250 items.
use super::*;

type Asked = Vec<(Option<i64>, Option<String>)>;

/// The items 0 to 249; notes what it was asked.
fn service(asked: &mut Asked) -> impl FnMut(Page) -> Outcome<Value> {
    |page| {
        asked.push((page.limit, page.marker.clone()));
        let size = page.limit.unwrap_or(100) as usize;
        let start = page.marker.map_or(0, |marker| marker.parse::<usize>().unwrap() + 1);
        let end = (start + size).min(250);
        let mut answer = json!({ "Keys": (start..end).collect::<Vec<_>>() });
        if end < 250 {
            answer["NextMarker"] = (end - 1).to_string().into();
        }
        answer["Truncated"] = (end < 250).into();
        Ok(answer)
    }
}

fn nothing_typed() -> args::Part {
    let none = None;
    args::Part {
        max_items: none,
        starting_token: None,
        page_size: None,
        no_paginate: false,
        limit: None,
        marker: None,
    }
}

fn typed(max_items: Option<u64>, starting_token: Option<&str>, page_size: Option<i64>) -> args::Part {
    let starting_token = starting_token.map(str::to_owned);
    args::Part { max_items, starting_token, page_size, ..nothing_typed() }
}

fn walked(typed: &args::Part, page_size: Option<i64>) -> (Pages, Asked) {
    let Paging::All(part) = Paging::of(typed).unwrap() else { panic!("one page of {typed:?}") };
    let mut asked = Vec::new();
    let pages = walk(&part, page_size, service(&mut asked)).unwrap();
    (pages, asked)
}

#[test]
fn a_list_is_walked_to_its_end() {
    let (pages, asked) = walked(&nothing_typed(), None);
    let marker = |n: &str| Some(n.to_owned());
    assert_eq!(asked, [(None, None), (None, marker("99")), (None, marker("199"))]);
    assert_eq!(pages.whole(), json!({ "Keys": (0..250).collect::<Vec<_>>() }));
    let parts: Vec<Value> = pages.parts().collect();
    assert_eq!((parts.len(), &parts[2]), (3, &json!({ "Keys": (200..250).collect::<Vec<_>>() })));
    assert_eq!(walked(&nothing_typed(), Some(1000)).1, [(Some(1000), None)]);
    assert_eq!(walked(&typed(None, None, Some(125)), Some(1000)).1.len(), 2);
}

#[test]
fn a_list_that_is_cut_short_is_continued_by_its_token_without_a_gap() {
    let cases =
        [(1, None), (7, Some(3)), (100, None), (101, None), (249, Some(1000)), (250, None), (251, None)];
    for (max, size) in cases {
        let (mut all, mut token) = (Vec::new(), None::<String>);
        for round in 1.. {
            let (pages, _) = walked(&typed(Some(max), token.as_deref(), size), None);
            let whole = pages.whole();
            let items = whole["Keys"].as_array().unwrap();
            assert_eq!(items.len(), (250 - all.len()).min(max as usize), "{max} {size:?} round {round}");
            all.extend(items.clone());
            token = pages.next_token.clone();
            assert_eq!(whole.get("NextToken").and_then(Value::as_str), token.as_deref());
            if token.is_none() {
                break;
            }
        }
        assert_eq!(Value::from(all), json!((0..250).collect::<Vec<_>>()), "{max} {size:?}");
    }
}

#[test]
fn a_token_is_what_the_aws_cli_makes() {
    let token = walked(&typed(Some(3), None, None), Some(1000)).0.next_token.unwrap();
    assert_eq!(BASE64.decode(&token).unwrap(), br#"{"Marker": "2"}"#);
    let (pages, asked) = walked(&typed(Some(0), Some(&token), None), None);
    assert_eq!((pages.whole(), asked.len()), (json!({ "Keys": [], "NextToken": token }), 1));
    let start = walked(&typed(Some(0), None, None), None).0.next_token.unwrap();
    assert_eq!(walked(&typed(None, Some(&start), None), None).0.whole()["Keys"][0], 0);
    let encoded = ["[]", r#"{"Marker": 3}"#, r#"{"Marker": "a", "boto_truncate_amount": 1}"#];
    for bad in ["", "x", "e30"].map(str::to_owned).into_iter().chain(encoded.map(|text| BASE64.encode(text)))
    {
        let failure = Paging::of(&typed(None, Some(&bad), None)).err().unwrap().to_string();
        assert!(failure.starts_with(&format!("Bad starting token: {bad};")), "{failure}");
    }
}

#[test]
fn one_page_and_all_pages_are_not_asked_for_together() {
    let one = |part: args::Part| match Paging::of(&part) {
        Ok(Paging::One(page)) => (page.limit, page.marker),
        Ok(Paging::All(_)) => panic!("all pages of {part:?}"),
        Err(failure) => panic!("{failure}"),
    };
    assert_eq!(one(args::Part { no_paginate: true, ..nothing_typed() }), (None, None));
    assert_eq!(one(args::Part { limit: Some(2), ..nothing_typed() }), (Some(2), None));
    let marker = || Some("m".to_owned());
    assert_eq!(one(args::Part { marker: marker(), ..nothing_typed() }), (None, marker()));
    for part in [
        args::Part { no_paginate: true, ..typed(Some(1), None, Some(2)) },
        args::Part { limit: Some(2), ..typed(Some(1), None, Some(2)) },
    ] {
        let failure = Paging::of(&part).err().unwrap().to_string();
        let words = "Cannot specify --no-paginate along with pagination arguments: --page-size, --max-items";
        assert_eq!(failure, words);
    }
}

#[test]
fn a_service_that_gives_one_marker_for_ever_is_not_asked_for_ever() {
    let mut asked = 0;
    let failure = walk(&Part::default(), None, |_| {
        asked += 1;
        Ok(json!({ "Keys": [1], "NextMarker": "m", "Truncated": true }))
    });
    assert!(failure.unwrap_err().to_string().contains("received twice"));
    assert_eq!(asked, 2);
}
