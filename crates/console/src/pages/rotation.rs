//! Rotation of a key: by itself or not, now, and those that were.

use maud::{Markup, html};
use rekeyfs::kms::Call;
use rekeyfs::printable::counted;

use super::key_view::{Change, KeyView, Refused, section as whole};
use super::layout::{self, alert, secret, time};
use crate::app::Refusal;
use crate::request::Request;

/// Days between rotations where nothing else is said, as AWS has it.
const USUAL_DAYS: &str = "365";

pub(super) fn section(request: &Request, view: &KeyView, refused: Option<&Refused<'_>>) -> Markup {
    let days = view.key.rotation_period_days;
    let of_form = |form: &str| refused.filter(|refused| refused.form == form).map(|refused| refused.why);
    let content = html! {
        p {
            @match days {
                Some(days) => { "This key is rotated every " (counted(days, "day", "days")) "." },
                None => "This key isn't rotated automatically.",
            }
            @if let Some(next) = &view.key.next_rotation { " The next rotation is at " (time(next)) "." }
        }
        @if view.changeable {
            (alert(of_form("rotation")))
            (fields(request, view, of_form("rotation").is_some()))
            (alert(of_form("rotate")))
            form.actions method="post" action=(request.url(&view.path("/rotate"))) {
                (secret(request))
                button.quiet type="submit" { "Rotate now" }
                span.help { "Makes a new version for new files. Existing files move to it as they are used" }
            }
        }
        h3 { "Rotation history" }
        (history(view))
    };
    whole("rotation", "Key rotation", &content)
}

fn fields(request: &Request, view: &KeyView, again: bool) -> Markup {
    let (automatic, days) = if again {
        (request.form.get("automatic").is_some(), request.form.text("days").to_owned())
    } else {
        let days = view.key.rotation_period_days;
        (days.is_some(), days.map_or_else(|| USUAL_DAYS.to_owned(), |days| days.to_string()))
    };
    html! {
        form.fields method="post" action=(request.url(&view.path("/rotation"))) novalidate {
            (secret(request))
            label.choice for="automatic" {
                input #automatic type="checkbox" name="automatic" checked[automatic];
                "Automatically rotate this KMS key"
            }
            div {
                label for="days" { "Rotation period (days)" }
                input #days type="number" name="days" value=(days) aria-describedby="days-help";
                p.help #days-help { "90 to 2560 days; it begins when this is saved" }
            }
            div { button type="submit" { "Save changes" } }
        }
    }
}

fn history(view: &KeyView) -> Markup {
    let mut rotations: Vec<_> = view
        .key
        .versions
        .iter()
        .filter_map(|version| Some((version.version, version.rotated.as_ref()?, version.automatic?)))
        .collect();
    rotations.sort_by_key(|(version, ..)| std::cmp::Reverse(*version));
    html! {
        @if rotations.is_empty() {
            p.none { "This key was not rotated yet." }
        } @else {
            (layout::table("Rotation history", &["Date", "Type", "Version"], &html! {
                @for (version, at, automatic) in rotations {
                    tr {
                        td { (time(at)) }
                        td { @if automatic { "Automatic" } @else { "On demand" } }
                        td.number { (version) }
                    }
                }
            }))
        }
    }
}

/// What is asked for: automatic rotation on, off or with another period. What is so now, whatever the page showed, isn't done
/// again: the period would begin again.
///
/// # Errors
/// The period is no number.
pub(super) fn schedule(request: &Request, now: Option<u16>) -> Result<Change, Refusal> {
    let refusal = |message: &str| Refusal::new(hyper::StatusCode::BAD_REQUEST, message);
    let key_id = request.key()?.to_string();
    if request.form.get("automatic").is_none() {
        if now.is_none() {
            return Ok(unchanged());
        }
        let notice = "Automatic rotation is off now.".to_owned();
        return Ok(Change { call: Some(Call::DisableKeyRotation { key_id }), notice });
    }
    let typed = request.form.word("days").unwrap_or_default();
    let days: i64 =
        typed.parse().map_err(|_| refusal("The rotation period is a number of days, 90 to 2560."))?;
    if now.map(i64::from) == Some(days) {
        return Ok(unchanged());
    }
    let notice = format!("The key is rotated every {} now.", counted(days, "day", "days"));
    Ok(Change { call: Some(Call::EnableKeyRotation { key_id, rotation_period_in_days: Some(days) }), notice })
}

fn unchanged() -> Change {
    Change { call: None, notice: "Nothing was changed: automatic rotation is as it was.".to_owned() }
}

/// A rotation now.
///
/// # Errors
/// The request names no key.
pub(super) fn now(request: &Request) -> Result<Change, Refusal> {
    let call = Call::RotateKeyOnDemand { key_id: request.key()?.to_string() };
    Ok(Change { call: Some(call), notice: "The key was rotated: new files use its new version.".to_owned() })
}
