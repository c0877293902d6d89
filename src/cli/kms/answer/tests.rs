//! Each form of one list, whole and by pages. What is expected is what awscli prints for the same pages.
use super::*;

fn form(output: Output, query: Option<&str>) -> Form {
    let query = query.map(|query| Query::parse(query).unwrap());
    Form { output, query, times: TimestampFormat::Wire, paint: Paint::Plain }
}

/// Two pages of a list that goes on.
fn list(next_token: Option<&str>) -> Answer {
    let page = |names: [&str; 2], next: &str| {
        let item = |name: &str| json!({ "KeyId": name, "KeyArn": format!("arn:{name}") });
        json!({ "Keys": names.map(item), "NextMarker": next, "Truncated": true })
    };
    let pages = vec![page(["a", "b"], "b"), page(["c", "d"], "d")];
    Answer::Listed(Pages { pages, next_token: next_token.map(str::to_owned) })
}

fn printed(output: Output, query: Option<&str>, answer: Answer) -> String {
    form(output, query).printed("ListKeys", answer, || 80).unwrap()
}

#[test]
fn json_is_indented_by_four() {
    assert_eq!(json(&json!({ "a": [1.5] })).unwrap(), "{\n    \"a\": [\n        1.5\n    ]\n}\n");
}

#[test]
fn json_yaml_and_tables_are_of_a_whole_list() {
    let json: Value = serde_json::from_str(&printed(Output::Json, None, list(None))).unwrap();
    let names = json["Keys"].as_array().unwrap().iter().map(|key| key["KeyId"].as_str().unwrap());
    assert_eq!(
        (names.collect::<String>(), json.as_object().unwrap().len()),
        ("abcd".to_owned(), 1),
        "{json}"
    );
    assert_eq!(printed(Output::Json, Some("length(Keys)"), list(None)), "4\n");
    assert_eq!(printed(Output::Yaml, Some("Keys[].KeyId"), list(None)), "- a\n- b\n- c\n- d\n");
    assert_eq!(printed(Output::Json, Some("NextToken"), list(Some("t"))), "\"t\"\n");
    let table = printed(Output::Table, None, list(Some("t")));
    assert!(
        table.contains("|  NextToken    |  t  |")
            && table.contains("ListKeys")
            && !table.contains("Truncated"),
        "{table}"
    );
}

#[test]
fn text_and_streams_are_made_page_by_page() {
    let lines = "KEYS\tarn:a\ta\nKEYS\tarn:b\tb\nKEYS\tarn:c\tc\nKEYS\tarn:d\td\n";
    assert_eq!(printed(Output::Text, None, list(None)), lines);
    assert_eq!(printed(Output::Text, None, list(Some("t"))), format!("{lines}NEXTTOKEN\tt\n"));
    assert_eq!(printed(Output::Text, Some("length(Keys)"), list(None)), "2\n2\n");
    assert_eq!(printed(Output::Text, Some("Keys[].KeyId"), list(None)), "a\tb\nc\td\n");
    // The token is a page of its own, in which the query finds nothing.
    assert_eq!(printed(Output::Text, Some("Keys[0].KeyId"), list(Some("t"))), "a\nc\nNone\n");
    // A stream has the service's own pages.
    assert_eq!(
        printed(Output::YamlStream, Some("[Keys[0].KeyId,NextMarker]"), list(None)),
        "- - a\n  - b\n- - c\n  - d\n"
    );
    let stream = printed(Output::YamlStream, None, list(None));
    assert!(
        stream.starts_with("- Keys:\n  - KeyArn: arn:a\n    KeyId: a\n")
            && stream.ends_with("  NextMarker: d\n  Truncated: true\n"),
        "{stream}"
    );
}

#[test]
fn an_operation_that_answers_nothing_prints_nothing() {
    for output in [Output::Json, Output::Yaml, Output::Text, Output::Table, Output::Off] {
        assert_eq!(printed(output, None, Answer::Whole(Value::Null)), "");
    }
    assert_eq!(printed(Output::Off, Some("Keys"), list(None)), "");
    assert_eq!(printed(Output::Json, Some("KeyId"), Answer::Whole(Value::Null)), "null\n");
    assert_eq!(printed(Output::Text, Some("KeyId"), Answer::Whole(Value::Null)), "None\n");
    assert_eq!(printed(Output::Json, None, Answer::Whole(json!([]))), "[]\n");
}

#[test]
fn times_are_put_before_the_query_is_asked() {
    let answer =
        || Answer::Whole(json!({ "KeyMetadata": { "CreationDate": 1_764_471_600.123, "KeyId": "k" } }));
    let query = Some("KeyMetadata.CreationDate");
    assert_eq!(printed(Output::Text, query, answer()), "1764471600.123\n");
    let iso = Form { times: TimestampFormat::Iso8601, ..form(Output::Text, query) };
    let shown = iso.printed("DescribeKey", answer(), || 80).unwrap();
    let time: jiff::Timestamp = shown.trim().parse().unwrap();
    assert_eq!(time.as_millisecond(), 1_764_471_600_123);
    assert!(shown.contains(":00.123000"), "{shown}");
}
