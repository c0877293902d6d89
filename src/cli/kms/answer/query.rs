//! `--query`: JMESPath in the AWS CLI's dialect, in which a literal may be a bare word (`` Keys[?KeyId==`abc`] ``). The crate
//! is jmespath, of the language's own organization. It keeps objects sorted by name: those of a result get their order
//! back here, but `*`, `keys` and `values` go by name.

use std::collections::HashMap;

use jmespath::ast::Ast;
use jmespath::{Expression, Variable};
use serde_json::{Map, Value};

use crate::cli::exit::{Exit, Failure, Outcome};

/// A query that can be asked.
pub(in crate::cli::kms) struct Query {
    text: String,
    expression: Expression<'static>,
}

/// The order of the names of objects, by the names sorted.
type Orders = HashMap<Vec<String>, Vec<String>>;

impl Query {
    /// The query that a text is.
    ///
    /// # Errors
    /// If it is none.
    pub(in crate::cli::kms) fn parse(text: &str) -> Outcome<Self> {
        let expression = jmespath::compile(&with_bare_words_quoted(text));
        let expression = expression.map_err(|error| bad(Exit::Usage, text, &error))?;
        Ok(Self { text: text.to_owned(), expression })
    }

    /// What it finds in an answer.
    ///
    /// # Errors
    /// If one of its functions doesn't take what it is given.
    pub(super) fn search(&self, answer: &Value) -> Outcome<Value> {
        let failed = |error: &jmespath::JmespathError| bad(Exit::Other, &self.text, error);
        let data = Variable::try_from(answer).map_err(|error| failed(&error))?;
        let found = self.expression.search(data).map_err(|error| failed(&error))?;
        let mut found =
            serde_json::to_value(&*found).map_err(|error| Failure::new(Exit::Other, "--query", error))?;
        let mut orders = Orders::new();
        of_objects(answer, &mut orders);
        of_expression(self.expression.as_ast(), &mut orders);
        put_in_order(&mut found, &orders);
        Ok(found)
    }
}

fn bad(exit: Exit, text: &str, error: &jmespath::JmespathError) -> Failure {
    Failure::line(
        exit,
        format_args!("Bad value for --query {text}: {}, at column {}", error.reason, error.column),
    )
}

/// Puts words in backticks that are no JSON in quotes, as the AWS CLI takes them.
fn with_bare_words_quoted(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some(at) = rest.find(['\'', '"', '`']) {
        let (before, quoted) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = closing(quoted) else {
            // The parser says what is wrong with it.
            out.push_str(quoted);
            return out;
        };
        let (literal, after) = quoted.split_at(end);
        let inside = &literal[1..literal.len() - 1];
        let word = format!("\"{}\"", inside.replace("\\`", "`").trim_start());
        let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
        if literal.starts_with('`') && !is_json(&inside.replace("\\`", "`")) && is_json(&word) {
            out.push_str(&format!("`{}`", word.replace('`', "\\`")));
        } else {
            out.push_str(literal);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Where a text in quotes ends, the quotes included; a backslash takes the next character as it is.
fn closing(quoted: &str) -> Option<usize> {
    let mut characters = quoted.char_indices();
    let (_, quote) = characters.next()?;
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return Some(at + character.len_utf8());
        }
    }
    None
}

fn note<'a>(names: impl Iterator<Item = &'a String>, orders: &mut Orders) {
    let order: Vec<String> = names.cloned().collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    orders.insert(sorted, order);
}

/// The objects of an answer.
fn of_objects(value: &Value, orders: &mut Orders) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| of_objects(item, orders)),
        Value::Object(object) => {
            note(object.keys(), orders);
            object.values().for_each(|value| of_objects(value, orders));
        }
        _ => {}
    }
}

/// The objects that an expression makes.
fn of_expression(ast: &Ast, orders: &mut Orders) {
    match ast {
        Ast::MultiHash { elements, .. } => {
            note(elements.iter().map(|pair| &pair.key), orders);
            elements.iter().for_each(|pair| of_expression(&pair.value, orders));
        }
        Ast::MultiList { elements, .. } | Ast::Function { args: elements, .. } => {
            elements.iter().for_each(|element| of_expression(element, orders));
        }
        Ast::Comparison { lhs, rhs, .. }
        | Ast::Projection { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. } => {
            [lhs, rhs].into_iter().for_each(|side| of_expression(side, orders))
        }
        Ast::Condition { predicate, then, .. } => {
            [predicate, then].into_iter().for_each(|part| of_expression(part, orders));
        }
        Ast::Expref { ast: node, .. }
        | Ast::Flatten { node, .. }
        | Ast::Not { node, .. }
        | Ast::ObjectValues { node, .. } => of_expression(node, orders),
        Ast::Identity { .. }
        | Ast::Field { .. }
        | Ast::Index { .. }
        | Ast::Literal { .. }
        | Ast::Slice { .. } => {}
    }
}

fn put_in_order(value: &mut Value, orders: &Orders) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| put_in_order(item, orders)),
        Value::Object(object) => {
            object.values_mut().for_each(|value| put_in_order(value, orders));
            let names: Vec<String> = object.keys().cloned().collect();
            if let Some(order) = orders.get(&names) {
                let mut ordered = Map::with_capacity(object.len());
                for name in order {
                    if let Some(value) = object.remove(name) {
                        ordered.insert(name.clone(), value);
                    }
                }
                *object = ordered;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(query: &str, answer: &Value) -> String {
        Query::parse(query).unwrap().search(answer).unwrap().to_string()
    }

    fn refused(query: &str) -> (Exit, String) {
        let failure = Query::parse(query).and_then(|query| query.search(&json!({ "a": "b" }))).unwrap_err();
        (failure.exit, failure.to_string())
    }

    /// As the jmespath of awscli 1.46.3 answers.
    #[test]
    fn queries_find_what_they_find_in_the_aws_cli() {
        let answer = json!({ "Keys": [
            { "KeyId": "b", "KeyArn": "arn:b", "N": 2 }, { "KeyId": "a", "KeyArn": "arn:a", "N": 1 },
        ], "Z": true, "A": null });
        for (query, expected) in [
            ("Keys[].KeyId", r#"["b","a"]"#),
            ("Keys[0]", r#"{"KeyId":"b","KeyArn":"arn:b","N":2}"#),
            ("Keys[-1].KeyArn", r#""arn:a""#),
            ("Keys[?KeyId==`a`].KeyArn", r#"["arn:a"]"#),
            ("Keys[?KeyId==`\"a\"`].KeyArn", r#"["arn:a"]"#),
            ("Keys[?KeyId=='a'].KeyArn | [0]", r#""arn:a""#),
            ("Keys[?N > `1`].KeyId", r#"["b"]"#),
            ("Keys[?contains(KeyArn, `:a`)].KeyId", r#"["a"]"#),
            ("Keys[?starts_with(KeyArn, 'arn')].[KeyArn,KeyId]", r#"[["arn:b","b"],["arn:a","a"]]"#),
            ("Keys[].{Z:KeyId,A:KeyArn}", r#"[{"Z":"b","A":"arn:b"},{"Z":"a","A":"arn:a"}]"#),
            ("{List: Keys[*].N, First: Keys[0].KeyId}", r#"{"List":[2,1],"First":"b"}"#),
            ("sort_by(Keys, &KeyId)[0]", r#"{"KeyId":"a","KeyArn":"arn:a","N":1}"#),
            (
                "sort_by(Keys, &KeyId)[].{b: KeyId, a: {d: N, c: N}}",
                r#"[{"b":"a","a":{"d":1,"c":1}},{"b":"b","a":{"d":2,"c":2}}]"#,
            ),
            ("length(Keys)", "2"),
            ("Keys[*].KeyId | join(`,`, @)", r#""b,a""#),
            ("to_string(Z)", r#""true""#),
            ("None.of.these", "null"),
            (
                "@",
                r#"{"Keys":[{"KeyId":"b","KeyArn":"arn:b","N":2},{"KeyId":"a","KeyArn":"arn:a","N":1}],"Z":true,"A":null}"#,
            ),
            ("not_null(A, `none of these`)", r#""none of these""#),
            ("`[1, {\"b\": 2}]`", r#"[1,{"b":2}]"#),
            ("`  word`", r#""word""#),
            (r"`a\`b`", r#""a`b""#),
            ("'`'", r#""`""#),
            ("\"Keys\"[0].\"KeyId\"", r#""b""#),
            ("Keys[::-1].KeyId", r#"["a","b"]"#),
            ("Keys[].N | max(@)", "2"),
        ] {
            assert_eq!(found(query, &answer), expected, "{query}");
        }
    }

    #[test]
    fn what_is_no_query_is_refused_in_the_aws_clis_words() {
        for query in
            ["", "Keys[", "a..b", "`unclosed", "'unclosed", "\"unclosed", "a b", "`\"`", "[?", "a\nb", "&"]
        {
            let (exit, said) = refused(query);
            assert!(exit == Exit::Usage && said.starts_with("Bad value for --query "), "{query:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
        for query in ["length(a, a)", "abs(a)", "nothing(a)", "sort(a)"] {
            let (exit, said) = refused(query);
            assert!(
                exit == Exit::Other && said.starts_with(&format!("Bad value for --query {query}: ")),
                "{said}"
            );
        }
    }
}
