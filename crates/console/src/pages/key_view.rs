//! What the page of a key and those below it show of the key ([`KeyView`]), asked for in one go, and the parts that they have in
//! common.

use maud::{Markup, html};
use rekeyfs::control::Client;
use rekeyfs::ids::{KeyId, Timestamp};
use rekeyfs::kms::Call;
use rekeyfs::printable::counted;
use rekeyfs::service::{ErrorKind, ErrorReply, KeyStatus, Operations, Status};
use serde_json::Value;

use super::layout::{self, time};
use crate::app::{Answer, Console, Refusal, done, listed};
use crate::jobs::Job;
use crate::request::Request;

/// What the page of a key shows.
pub(super) struct KeyView {
    pub(super) status: Status,
    pub(super) key: KeyStatus,
    /// As `DescribeKey` has it.
    pub(super) metadata: Value,
    /// As `ListAliases` has them.
    pub(super) aliases: Vec<Value>,
    /// Its policy, as it was written.
    pub(super) policy: String,
    /// As `ListResourceTags` has them.
    pub(super) tags: Vec<Value>,
    /// Whether it can be changed here.
    pub(super) changeable: bool,
    /// The last work on all files.
    pub(super) job: Option<Job>,
}

impl KeyView {
    /// # Errors
    /// There is no such key; the vault can't be asked.
    pub(super) async fn of(console: &Console, key: KeyId) -> Result<Self, Refusal> {
        let mut view = console.ask(move |client| Self::ask(client, key)).await?;
        view.changeable &= !console.read_only;
        view.job = console.jobs.last();
        Ok(view)
    }

    fn ask(client: &Client, id: KeyId) -> Answer<Self> {
        let key_id = id.to_string();
        let mut described = done(client, &Call::DescribeKey { key_id: key_id.clone() })?;
        let aliases =
            listed(client, "Aliases", |page| Call::ListAliases { key_id: Some(key_id.clone()), page })?;
        let tags = listed(client, "Tags", |page| Call::ListResourceTags { key_id: key_id.clone(), page })?;
        let written = done(client, &Call::GetKeyPolicy { key_id, policy_name: None })?;
        let policy = written["Policy"].as_str().unwrap_or_default().to_owned();
        let status = client.status()?;
        let gone = || ErrorReply::new(ErrorKind::NotFound, format!("the key {id} is not there any more"));
        let key = status.keys.iter().find(|key| key.key_id == id).cloned().ok_or_else(gone)?;
        let changeable = !key.service_managed;
        let metadata = described["KeyMetadata"].take();
        Ok(Self { status, key, metadata, aliases, policy, tags, changeable, job: None })
    }

    /// What it is called: its first alias, or its id.
    pub(super) fn name(&self) -> String {
        let of_key = self.status.aliases.iter().filter(|alias| alias.key_id == self.key.key_id);
        let first = of_key.map(|alias| alias.alias.as_str()).min();
        first.map_or_else(|| self.key.key_id.to_string(), |alias| layout::alias(alias).into_owned())
    }

    /// The list that it is in.
    pub(super) fn place(&self) -> &'static str {
        if self.key.service_managed { layout::SERVICE } else { layout::CUSTOMER }
    }

    /// The address of its page, or of one below that.
    pub(super) fn path(&self, below: &str) -> String {
        format!("keys/{}{below}", self.key.key_id)
    }

    /// The way to it, for a page below.
    pub(super) fn trail(&self, request: &Request, here: &str) -> Markup {
        let (name, path) = (self.name(), self.path(""));
        let list = if self.key.service_managed { "Service managed keys" } else { "Customer managed keys" };
        layout::trail(request, &[(self.place(), list), (&path, &name)], here)
    }

    /// How many files are under it, as far as they were seen.
    pub(super) fn files(&self) -> String {
        let of_key = self.status.versions.iter().filter(|seen| seen.key_id == self.key.key_id);
        counted(
            of_key.map(|seen| seen.files).sum::<u64>(),
            "file is under this key",
            "files are under this key",
        )
    }

    /// A time of `DescribeKey`, which has seconds.
    pub(super) fn date(&self, field: &str) -> Option<Markup> {
        let seconds = self.metadata.get(field)?.as_f64()?;
        Some(time(&Timestamp((seconds * 1000.0).round() as i64).to_string()))
    }
}

/// A change that a form of the page asks for.
pub(super) struct Change {
    /// None, if it is so already.
    pub(super) call: Option<Call>,
    /// What is said when it is done.
    pub(super) notice: String,
}

/// A form of the page that was refused.
pub(super) struct Refused<'a> {
    /// Which one: the last segment of its address.
    pub(super) form: &'a str,
    pub(super) why: &'a Refusal,
}

/// A section of the page. `id` is that of its heading, too.
pub(super) fn section(id: &str, heading: &str, content: &Markup) -> Markup {
    html! { section id=(id) aria-labelledby={ (id) "-heading" } { h2 id={ (id) "-heading" } { (heading) } (content) } }
}
