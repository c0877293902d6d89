//! The lines of protocol v1, from the helper's side.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::sync::OnceLock;
use std::time::Duration;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::leave::leave;

const VERSION: u32 = 1;
/// More than any request has.
const MAX_REQUEST: u64 = 128 << 10;
/// A key of 32 bytes in base64.
const SECRET_TEXT: usize = 44;

/// The key that is wrapped: on the heap, wiped when dropped.
pub struct Secret(Box<Zeroizing<[u8; 32]>>);

impl Secret {
    /// The one that this is the base64 of.
    pub fn from_base64(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; SECRET_TEXT / 4 * 3]);
        let fits = text.len() == SECRET_TEXT;
        let len = fits.then(|| BASE64.decode_mut(text.as_bytes(), &mut *bytes).ok()).flatten()?;
        Self::from_bytes(&bytes[..len])
    }

    /// The one of these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self(Box::new(Zeroizing::new([0; 32])));
        (bytes.len() == 32).then(|| secret.0.copy_from_slice(bytes))?;
        Some(secret)
    }

    /// Its bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its base64.
    pub fn to_base64(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(SECRET_TEXT));
        BASE64.encode_append(&**self.0, &mut text);
        text
    }
}

/// What the host lets this custodian use: each word of `custodians.conf` with its values.
#[derive(Deserialize, Default, Debug)]
#[serde(transparent)]
pub struct Allowed(BTreeMap<String, Vec<String>>);

impl Allowed {
    /// The values of a word.
    pub fn all(&self, word: &str) -> &[String] {
        self.0.get(word).map_or(&[], Vec::as_slice)
    }

    /// That a value may be used.
    ///
    /// # Errors
    /// [`Kind::NotAllowed`].
    pub fn require(&self, word: &str, value: &str) -> Result<(), Refusal> {
        if self.all(word).iter().any(|one| one == value) {
            return Ok(());
        }
        Err(Refusal::new(Kind::NotAllowed, format!("custodians.conf has no {word}={value} for it")))
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    v: u32,
    op: String,
    #[serde(default)]
    params: Map<String, Value>,
    #[serde(default)]
    allowed: Allowed,
    context: BTreeMap<String, String>,
    #[serde(borrow)]
    secret: Option<&'a str>,
    #[serde(borrow)]
    blob: Option<&'a str>,
    version: Option<String>,
    #[serde(default)]
    interactive: bool,
    #[serde(default)]
    ask_pin: bool,
}

/// What all requests have.
pub struct Request {
    /// Which key, and how. A stranger's.
    pub params: Map<String, Value>,
    /// What the host allows.
    pub allowed: Allowed,
    /// What the key is for: names and values, in the order of names.
    pub context: BTreeMap<String, String>,
    /// The version of the custodian's key that `wrap` said.
    pub version: Option<String>,
    /// Whether a person can be asked.
    pub interactive: bool,
    /// Whether a PIN that the helper has stored was refused just before ([`Refusal::stored`]): it isn't tried again, and the person is asked.
    pub ask_pin: bool,
}

/// What is wanted of a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Prompt {
    /// A PIN.
    Pin,
    /// To touch a device, which is waited for elsewhere: the answer comes at once, and is empty.
    Touch,
}

impl Request {
    /// Asks a person.
    ///
    /// # Errors
    /// [`Kind::NeedsUser`] if nobody answers.
    pub fn ask(&self, what: Prompt, text: &str) -> Result<Zeroizing<String>, Refusal> {
        #[derive(Serialize)]
        struct Question<'a> {
            what: Prompt,
            text: &'a str,
        }
        #[derive(Serialize)]
        struct QuestionLine<'a> {
            v: u32,
            prompt: Question<'a>,
        }
        #[derive(Deserialize)]
        struct Reply {
            v: u32,
            answer: String,
        }
        let nobody = || Refusal::new(Kind::NeedsUser, text);
        if !self.interactive {
            return Err(nobody());
        }
        print(&QuestionLine { v: VERSION, prompt: Question { what, text } }).map_err(|_| nobody())?;
        let line = read_line().map_err(|_| nobody())?;
        let reply: Reply = serde_json::from_slice(&line).map_err(|_| nobody())?;
        let answer = Zeroizing::new(reply.answer);
        if reply.v == VERSION { Ok(answer) } else { Err(nobody()) }
    }

    /// A parameter that is a text.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if it isn't there or is something else.
    pub fn text(&self, name: &str) -> Result<&str, Refusal> {
        let found = self.params.get(name).and_then(Value::as_str);
        found.ok_or_else(|| Refusal::new(Kind::NotFound, format!("its parameters have no text {name}")))
    }
}

/// Kinds of refusals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It can't be reached.
    Offline,
    /// It has too much to do: [`Refusal::later`].
    Busy,
    /// The caller may not use the key.
    Denied,
    /// The key is disabled, or about to be deleted.
    Disabled,
    /// There is no such key, identity or device.
    NotFound,
    /// The machine is in another state than the key is bound to.
    WrongState,
    /// The PIN is wrong: [`Refusal::tries_left`].
    Pin,
    /// A person would have to be asked.
    NeedsUser,
    /// The blob or the context is another one.
    Damaged,
    /// A program that is needed isn't installed.
    Missing,
    /// The host's list doesn't have what would be needed.
    NotAllowed,
    /// It can't do that.
    Unsupported,
    /// Anything else.
    Internal,
}

/// A refusal, which is an answer too.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Refusal {
    kind: Kind,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tries: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stored: bool,
}

impl Refusal {
    /// With what to tell.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), retry_after_ms: None, tries: None, stored: false }
    }

    /// When one that is busy wants to be asked again, if it says so.
    pub fn later(self, retry_after: Option<Duration>) -> Self {
        let retry_after_ms = retry_after.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Self { retry_after_ms, ..self }
    }

    /// How often another PIN may be tried, if that is known.
    pub fn tries_left(self, tries: Option<u32>) -> Self {
        Self { tries, ..self }
    }

    /// That the PIN was one that the helper has stored, as in a file: a person may know the right one.
    pub fn stored(self, stored: bool) -> Self {
        Self { stored, ..self }
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What there is to tell.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// What wrapping gives.
pub struct Wrapped {
    /// The wrapped key.
    pub blob: Vec<u8>,
    /// Those to keep, if they aren't the request's.
    pub params: Option<Map<String, Value>>,
    /// The version of the custodian's key, if it has versions.
    pub version: Option<String>,
}

/// What unwrapping gives.
pub struct Unwrapped {
    /// The key.
    pub secret: Secret,
    /// Whether another version of the custodian's key would wrap it now.
    pub rewrap: bool,
}

/// What a helper does.
pub trait Custodian {
    /// Wraps a key.
    ///
    /// # Errors
    /// [`Refusal`].
    fn wrap(&self, request: &Request, secret: &Secret) -> Result<Wrapped, Refusal>;

    /// Unwraps what was wrapped.
    ///
    /// # Errors
    /// [`Refusal`].
    fn unwrap(&self, request: &Request, blob: &[u8]) -> Result<Unwrapped, Refusal>;
}

#[derive(Serialize)]
struct Answer<'a> {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rewrap: bool,
}

impl Answer<'_> {
    const NONE: Self = Self {
        v: VERSION,
        error: None,
        params: None,
        blob: None,
        version: None,
        secret: None,
        rewrap: false,
    };
}

/// What standard output was when the program began. Libraries print there too: that goes to standard error from then on, and from
/// there to the log.
static ANSWERS: OnceLock<File> = OnceLock::new();

fn keep_answers_apart() -> io::Result<()> {
    let answers = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    ANSWERS.set(File::from(answers)).map_err(|_| io::ErrorKind::AlreadyExists.into())
}

/// Answers the request on standard input, and ends the process at once. What a library does as it is unloaded may fail, or never end,
/// and would take the answer with it.
pub fn serve(custodian: &dyn Custodian) -> ! {
    // It isn't for the helper to fail where that isn't possible.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    if keep_answers_apart().is_err() {
        leave(false);
    }
    let written = match read_line().map_err(|error| Refusal::new(Kind::Internal, error)) {
        Ok(line) => answer(custodian, &line),
        Err(refusal) => print(&Answer { error: Some(refusal), ..Answer::NONE }),
    };
    leave(written.is_ok())
}

fn read_line() -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_REQUEST as usize));
    io::stdin().lock().take(MAX_REQUEST).read_until(b'\n', &mut line)?;
    Ok(line)
}

fn answer(custodian: &dyn Custodian, line: &[u8]) -> io::Result<()> {
    // serde's errors quote what they found: they aren't told.
    let no_request = || Refusal::new(Kind::Internal, "it got no request of protocol version 1");
    let parsed = serde_json::from_slice(line).map_err(|_| no_request());
    let done = parsed.and_then(
        |line: Line<'_>| {
            if line.v == VERSION { perform(custodian, line) } else { Err(no_request()) }
        },
    );
    match done {
        Ok(Done::Wrapped(Wrapped { blob, params, version })) => {
            print(&Answer { blob: Some(BASE64.encode(&blob)), params, version, ..Answer::NONE })
        }
        Ok(Done::Unwrapped(Unwrapped { secret, rewrap })) => {
            print(&Answer { secret: Some(&secret.to_base64()), rewrap, ..Answer::NONE })
        }
        Err(refusal) => print(&Answer { error: Some(refusal), ..Answer::NONE }),
    }
}

enum Done {
    Wrapped(Wrapped),
    Unwrapped(Unwrapped),
}

fn perform(custodian: &dyn Custodian, line: Line<'_>) -> Result<Done, Refusal> {
    let lacking = |what| Refusal::new(Kind::Internal, format!("the request has no {what}"));
    let secret = line.secret.and_then(Secret::from_base64);
    let blob = line.blob.and_then(|text| BASE64.decode(text.as_bytes()).ok());
    let Line { op, params, allowed, context, version, interactive, ask_pin, .. } = line;
    let request = Request { params, allowed, context, version, interactive, ask_pin };
    match op.as_str() {
        "wrap" => custodian.wrap(&request, &secret.ok_or_else(|| lacking("secret"))?).map(Done::Wrapped),
        "unwrap" => custodian.unwrap(&request, &blob.ok_or_else(|| lacking("blob"))?).map(Done::Unwrapped),
        "status" => Err(Refusal::new(Kind::Unsupported, "only unwrapping tells how the key stands")),
        _ => Err(Refusal::new(Kind::Unsupported, "it knows wrap and unwrap")),
    }
}

fn print(answer: &impl Serialize) -> io::Result<()> {
    // Allocated once: a vector that grows leaves copies of secrets behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_REQUEST as usize));
    serde_json::to_writer(&mut *line, answer)?;
    line.push(b'\n');
    ANSWERS.get().ok_or(io::ErrorKind::NotConnected)?.write_all(&line)
}
