//! The lines of protocol v1 (docs/custodians.md, "The protocol"): what is sent to a helper, and what of its answers counts.
//!
//! Secrets are written into, and read from, buffers that are wiped: the answer's `secret` is borrowed from its line. For the
//! same reason nothing of serde's errors is told, which quote what they found.

use std::time::Duration;

use data_encoding::BASE64;
use rekeyfs_format::unlock::{CustodianName, Custody, CustodyParams};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::allow::Allowed;
use super::prompt::{Prompt, PromptKind};
use super::refusal::{Refusal, RefusalKind};
use super::types::{Context, Standing, Use};
use crate::crypto::keys::CustodyKek;

const VERSION: u32 = 1;
/// A KEK, in base64.
const KEK_TEXT: usize = 44;
/// A day: what is longer means the same.
const MAX_RETRY_MS: u64 = 86_400_000;
/// More than all of a request but its parameters, blob and what the host allows.
const ENVELOPE: usize = 1024;

/// What a helper is to do.
#[derive(Clone, Copy)]
pub(super) enum Question<'a> {
    Wrap(&'a CustodyParams, &'a CustodyKek),
    Unwrap(&'a Custody),
    Status(&'a Custody),
}

#[derive(Serialize)]
struct Request<'a> {
    v: u32,
    op: &'static str,
    params: &'a Map<String, Value>,
    allowed: &'a Allowed,
    context: ContextLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    interactive: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ask_pin: bool,
}

#[derive(Serialize)]
struct ContextLine {
    #[serde(rename = "rekeyfs:vault")]
    vault: String,
    #[serde(rename = "rekeyfs:use")]
    purpose: &'static str,
    #[serde(rename = "rekeyfs:id")]
    id: String,
}

impl From<&Context> for ContextLine {
    fn from(context: &Context) -> Self {
        let Use::Unlock(slot) = context.purpose;
        Self { vault: context.vault.to_string(), purpose: "unlock", id: slot.to_string() }
    }
}

impl Question<'_> {
    /// Which key it is about.
    pub(super) fn params(&self) -> &CustodyParams {
        match self {
            Self::Wrap(params, _) => params,
            Self::Unwrap(custody) | Self::Status(custody) => custody.params(),
        }
    }

    /// The line that asks it, where `on` is who can be asked.
    pub(super) fn line(&self, allowed: &Allowed, context: &Context, on: &dyn Prompt) -> Zeroizing<Vec<u8>> {
        let mut secret = Zeroizing::new(String::with_capacity(KEK_TEXT));
        let (op, params, wrapped) = match self {
            Self::Wrap(params, kek) => {
                BASE64.encode_append(kek.expose(), &mut secret);
                ("wrap", *params, None)
            }
            Self::Unwrap(wrapped) => ("unwrap", wrapped.params(), Some(*wrapped)),
            Self::Status(wrapped) => ("status", wrapped.params(), Some(*wrapped)),
        };
        let blob = wrapped.map(|custody| BASE64.encode(custody.blob()));
        let request = Request {
            v: VERSION,
            op,
            params: params.as_map(),
            allowed,
            context: context.into(),
            secret: Some(secret.as_str()).filter(|secret| !secret.is_empty()),
            blob: blob.as_deref(),
            version: wrapped.and_then(|custody| custody.key_version()),
            interactive: on.interactive(),
            ask_pin: on.types_pin(),
        };
        // A vector that grows leaves a copy behind.
        let room = ENVELOPE
            + params.to_line().len()
            + blob.as_ref().map_or(0, String::len)
            + serde_json::to_vec(allowed).map_or(0, |text| text.len());
        let mut line = Zeroizing::new(Vec::with_capacity(room));
        // Writing strings and maps of them to memory doesn't fail.
        let _ = serde_json::to_writer(&mut *line, &request);
        line.push(b'\n');
        line
    }
}

/// The line that answers a prompt.
pub(super) fn answer_line(answer: &str) -> Zeroizing<Vec<u8>> {
    #[derive(Serialize)]
    struct Answer<'a> {
        v: u32,
        answer: &'a str,
    }
    // A character takes at most six bytes.
    let mut line = Zeroizing::new(Vec::with_capacity(32 + answer.len() * 6));
    let _ = serde_json::to_writer(&mut *line, &Answer { v: VERSION, answer });
    line.push(b'\n');
    line
}

#[derive(Deserialize)]
struct AnswerLine<'a> {
    v: u32,
    prompt: Option<PromptLine>,
    error: Option<ErrorLine>,
    #[serde(borrow)]
    secret: Option<&'a str>,
    #[serde(borrow)]
    blob: Option<&'a str>,
    params: Option<Map<String, Value>>,
    version: Option<String>,
    #[serde(default)]
    rewrap: bool,
}

#[derive(Deserialize)]
struct PromptLine {
    what: What,
    #[serde(default)]
    text: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Pin,
    Touch,
    Confirm,
}

#[derive(Deserialize)]
struct ErrorLine {
    kind: String,
    #[serde(default)]
    message: String,
    retry_after_ms: Option<u64>,
    tries: Option<u32>,
    #[serde(default)]
    stored: bool,
}

/// A line of a helper's, as far as it can be told without knowing what was asked.
pub(super) enum Line {
    Prompt(PromptKind, String),
    /// An answer, or what should be one: the last line.
    Last,
}

/// What a line is.
pub(super) fn line_kind(line: &[u8]) -> Line {
    match parse(line) {
        Ok(AnswerLine { prompt: Some(prompt), .. }) => {
            let kind = match prompt.what {
                What::Pin => PromptKind::Pin,
                What::Touch => PromptKind::Touch,
                What::Confirm => PromptKind::Confirm,
            };
            Line::Prompt(kind, prompt.text)
        }
        _ => Line::Last,
    }
}

fn parse(line: &[u8]) -> Result<AnswerLine<'_>, Refusal> {
    let no_answer =
        || Refusal::new(RefusalKind::Internal, "the helper's answer isn't one of protocol version 1");
    let answer: AnswerLine<'_> = serde_json::from_slice(line).map_err(|_| no_answer())?;
    if answer.v == VERSION { Ok(answer) } else { Err(no_answer()) }
}

fn successful(line: &[u8]) -> Result<AnswerLine<'_>, Refusal> {
    let answer = parse(line)?;
    match answer.error {
        Some(error) => Err(refusal(&error)),
        None => Ok(answer),
    }
}

/// Whether an answer is none of success.
pub(super) fn refused(line: &[u8]) -> Result<(), Refusal> {
    successful(line).map(|_| ())
}

fn refusal(error: &ErrorLine) -> Refusal {
    let kind = match error.kind.as_str() {
        "offline" => RefusalKind::Offline,
        "busy" => RefusalKind::Busy {
            retry_after: error.retry_after_ms.map(|ms| Duration::from_millis(ms.min(MAX_RETRY_MS))),
        },
        "denied" => RefusalKind::Denied,
        "disabled" => RefusalKind::Disabled,
        "not-found" => RefusalKind::NotFound,
        "wrong-state" => RefusalKind::WrongState,
        "pin" => RefusalKind::Pin { tries: error.tries, stored: error.stored },
        "needs-user" => RefusalKind::NeedsUser,
        "damaged" => RefusalKind::Damaged,
        "missing" => RefusalKind::Missing,
        "not-allowed" => RefusalKind::NotAllowed,
        "unsupported" => RefusalKind::Unsupported,
        _ => RefusalKind::Internal,
    };
    Refusal::new(kind, &error.message)
}

/// The answer to [`Question::Wrap`]: parameters that aren't in it are those that were sent.
pub(super) fn wrapped(line: &[u8], by: &CustodianName, sent: &CustodyParams) -> Result<Custody, Refusal> {
    let answer = successful(line)?;
    let blob = answer.blob.and_then(|text| BASE64.decode(text.as_bytes()).ok()).unwrap_or_default();
    let params = answer.params.map_or_else(|| Ok(sent.clone()), CustodyParams::try_from);
    let custody = params.and_then(|params| Custody::new(by.clone(), params, blob, answer.version));
    custody.map_err(|why| Refusal::new(RefusalKind::Internal, format!("the helper's answer: {why}")))
}

/// The answer to [`Question::Unwrap`].
pub(super) fn unwrapped(line: &[u8]) -> Result<(CustodyKek, Standing), Refusal> {
    let answer = successful(line)?;
    let lacking = || Refusal::new(RefusalKind::Internal, "the helper's answer has no secret of 32 bytes");
    let text = answer.secret.filter(|text| text.len() == KEK_TEXT).ok_or_else(lacking)?;
    let mut bytes = Zeroizing::new([0; KEK_TEXT / 4 * 3]);
    let len = BASE64.decode_mut(text.as_bytes(), &mut *bytes).map_err(|_| lacking())?;
    let kek = bytes.get(..len).and_then(|bytes| <&[u8; 32]>::try_from(bytes).ok());
    let kek = CustodyKek::from_bytes(kek.ok_or_else(lacking)?);
    Ok((kek, Standing { rewrap: answer.rewrap }))
}

/// The answer to [`Question::Status`].
pub(super) fn status(line: &[u8]) -> Result<Standing, Refusal> {
    successful(line).map(|answer| Standing { rewrap: answer.rewrap })
}
