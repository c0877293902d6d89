//! The tags of a key.

use maud::{Markup, html};
use rekeyfs::kms::{Call, Tag};

use super::key_view::{Change, KeyView, Refused, section as whole};
use super::layout::{self, alert, secret, text};
use crate::app::Refusal;
use crate::request::Request;

pub(super) fn section(request: &Request, view: &KeyView, refused: Option<&Refused<'_>>) -> Markup {
    let refused = refused.filter(|refused| refused.form.starts_with("tags"));
    let typed = |name| if refused.is_some() { request.form.text(name) } else { "" };
    let tags: Vec<(&str, &str)> = view
        .tags
        .iter()
        .filter_map(|tag| Some((tag["TagKey"].as_str()?, tag["TagValue"].as_str()?)))
        .collect();
    let content = html! {
        @if tags.is_empty() {
            p.none { "This key has no tags." }
        } @else {
            (layout::table("Tags", &layout::with_actions(vec!["Tag key", "Tag value"], view.changeable), &html! {
                @for (key, value) in tags {
                    tr {
                        td { (text(key)) }
                        td { (text(value)) }
                        @if view.changeable {
                            td {
                                form method="post" action=(request.url(&view.path("/tags/remove"))) {
                                    (secret(request))
                                    input type="hidden" name="key" value=(key);
                                    button.quiet type="submit" aria-label={ "Remove tag " (text(key)) } { "Remove" }
                                }
                            }
                        }
                    }
                }
            }))
        }
        @if view.changeable {
            h3 { "Add tag" }
            (alert(refused.map(|refused| refused.why)))
            form.fields method="post" action=(request.url(&view.path("/tags"))) {
                (secret(request))
                div {
                    label for="tag-key" { "Tag key" }
                    input #tag-key name="key" value=(typed("key")) autocomplete="off" required;
                }
                div {
                    label for="tag-value" { "Tag value" }
                    input #tag-value name="value" value=(typed("value")) autocomplete="off";
                }
                div { button type="submit" { "Add tag" } }
            }
        }
    };
    whole("tags", "Tags", &content)
}

/// A tag that is added, or whose value is changed.
///
/// # Errors
/// The request names no key.
pub(super) fn added(request: &Request) -> Result<Change, Refusal> {
    let (tag_key, tag_value) = (request.form.text("key").to_owned(), request.form.text("value").to_owned());
    let notice = format!("The tag {tag_key} was saved.");
    let tags = vec![Tag { tag_key, tag_value }];
    Ok(Change { call: Some(Call::TagResource { key_id: request.key()?.to_string(), tags }), notice })
}

/// A tag that is removed.
///
/// # Errors
/// The request names no key.
pub(super) fn removed(request: &Request) -> Result<Change, Refusal> {
    let key = request.form.text("key").to_owned();
    let notice = format!("The tag {key} was removed.");
    Ok(Change {
        call: Some(Call::UntagResource { key_id: request.key()?.to_string(), tag_keys: vec![key] }),
        notice,
    })
}
