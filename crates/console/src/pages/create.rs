//! A new key. What can be known of its alias and tags is checked before the key is made, so that a slip leaves no key that
//! nobody meant.

use maud::{Markup, html};
use rekeyfs::control::Client;
use rekeyfs::kms::{Call, NewKey, Tag};
use rekeyfs::service::{ErrorKind, ErrorReply};

use super::aliases::own_name;
use super::layout::{self, alert, secret};
use crate::app::{Answer, Console, Refusal, done, listed};
use crate::form::Form;
use crate::request::{Outcome, Page, Request};

const TITLE: &str = "Create key";

/// Asks for what it is to be.
pub(super) async fn form(console: &Console, request: &Request) -> Outcome {
    if console.read_only {
        return Err(Refusal::not_found());
    }
    Ok(Page::shown(layout::CUSTOMER, TITLE, fields(request, None)))
}

/// Makes it.
pub(super) async fn create(console: &Console, request: &Request) -> Outcome {
    match made(console, &request.form).await {
        Ok(Made { id, alias: Ok(()) }) => Ok(Page::done(format!("keys/{id}"), "The key was created.")),
        Ok(Made { id, alias: Err(why) }) => {
            let notice = format!("The key was created, but has no alias: {}", why.message);
            Ok(Page::done(format!("keys/{id}"), notice))
        }
        Err(why) => Ok(Page::again(layout::CUSTOMER, TITLE, fields(request, Some(&why)), &why)),
    }
}

struct Made {
    id: String,
    alias: Result<(), ErrorReply>,
}

async fn made(console: &Console, form: &Form) -> Result<Made, Refusal> {
    let alias = form.word("alias").map(own_name).transpose()?;
    let new = NewKey {
        description: form.text("description").to_owned(),
        policy: form.word("policy").map(|_| form.text("policy").to_owned()),
        tags: tags(form.text("tags"))?,
        ..NewKey::default()
    };
    console
        .ask(move |client| create_with_alias(client, &Call::CreateKey { key: new }, alias.as_deref()))
        .await
}

fn create_with_alias(client: &Client, create: &Call, alias: Option<&str>) -> Answer<Made> {
    if let Some(name) = alias {
        let known = listed(client, "Aliases", |page| Call::ListAliases { key_id: None, page })?;
        if known.iter().any(|known| known["AliasName"] == name) {
            let message = format!("There is an alias {name} already: point that at the new key instead.");
            return Err(ErrorReply::new(ErrorKind::KeyNotUsable, message));
        }
    }
    let made = done(client, create)?;
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap_or_default().to_owned();
    let alias = alias.map_or(Ok(()), |name| {
        let (alias_name, target_key_id) = (name.to_owned(), id.clone());
        done(client, &Call::CreateAlias { alias_name, target_key_id }).map(drop)
    });
    Ok(Made { id, alias })
}

/// Tags, a line each.
fn tags(text: &str) -> Result<Vec<Tag>, Refusal> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let tag = |(at, line): (usize, &str)| {
        let (key, value) = line.split_once('=').ok_or_else(|| {
            let message = format!("Line {} of the tags isn't KEY=VALUE.", at + 1);
            Refusal::new(hyper::StatusCode::BAD_REQUEST, message)
        })?;
        Ok(Tag { tag_key: key.trim().to_owned(), tag_value: value.trim().to_owned() })
    };
    lines.map(tag).collect()
}

fn fields(request: &Request, refused: Option<&Refusal>) -> Markup {
    let typed = |name| request.form.text(name);
    html! {
        (layout::trail(request, &[(layout::CUSTOMER, "Customer managed keys")], TITLE))
        h1 { (TITLE) }
        section aria-label="New key" {
            (alert(refused))
            form.fields method="post" action=(request.url("keys/create")) {
                (secret(request))
                div {
                    label for="alias" { "Alias (optional)" }
                    input #alias name="alias" value=(typed("alias")) autocomplete="off" spellcheck="false"
                        aria-describedby="alias-help";
                    p.help #alias-help { "A name of letters, digits, / _ and -, as in application-current" }
                }
                div {
                    label for="description" { "Description" }
                    textarea #description name="description" rows="2" { "\n" (typed("description")) }
                }
                div {
                    label for="policy" { "Key policy (optional)" }
                    textarea.code #policy name="policy" rows="8" spellcheck="false" aria-describedby="policy-help" {
                        "\n" (typed("policy"))
                    }
                    p.help #policy-help { "JSON as of AWS KMS. Without one everybody may use the key whom a file's mode lets" }
                }
                div {
                    label for="tags" { "Tags (optional)" }
                    textarea.code #tags name="tags" rows="3" spellcheck="false" aria-describedby="tags-help" {
                        "\n" (typed("tags"))
                    }
                    p.help #tags-help { "KEY=VALUE, a line each" }
                }
                div.actions {
                    button type="submit" { "Create key" }
                    a.button.quiet href=(request.url(layout::CUSTOMER)) { "Cancel" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_line_each() {
        let pair = |tag: &Tag| (tag.tag_key.clone(), tag.tag_value.clone());
        let read: Vec<_> = tags(" team = a=b \n\ncost=\n").unwrap().iter().map(pair).collect();
        assert_eq!(read, [("team".to_owned(), "a=b".to_owned()), ("cost".to_owned(), String::new())]);
        assert!(tags("\n").unwrap().is_empty());
        assert_eq!(tags("a=b\nnonsense").unwrap_err().message, "Line 2 of the tags isn't KEY=VALUE.");
    }
}
