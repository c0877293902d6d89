//! Work on all files, ordered on a key's page: it is begun, asked for by the script, and stopped.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::key;
use crate::app::{Console, Refusal};
use crate::jobs::{Job, State, Work};
use crate::request::{Outcome, Page, Request};

/// How far a job is, for the script.
pub(super) async fn job(console: &Console, request: &Request) -> Outcome {
    let asked: Option<u64> = request.query.get("id").and_then(|id| id.parse().ok());
    let job = console.jobs.last().filter(|job| Some(job.id) == asked).ok_or_else(Refusal::not_found)?;
    Ok(Page::Data(told_as_data(&job)))
}

fn told_as_data(job: &Job) -> Value {
    match job.state() {
        State::Running(progress) => json!({
            "running": true, "seen": progress.seen, "total": progress.total.map(|total| total.max(progress.seen)),
            "text": job.work.told(&progress),
        }),
        State::Done(..) | State::Failed(..) => json!({ "running": false }),
    }
}

/// Counts all files.
pub(super) async fn count(console: &Console, request: &Request) -> Outcome {
    begin(console, request, Ok(Work::Count), "count").await
}

/// Re-wraps all files that are stale.
pub(super) async fn rewrap(console: &Console, request: &Request) -> Outcome {
    let rate = request.form.word("rate").map(str::parse).transpose();
    let work = rate.map(|max_rate| Work::Rewrap { max_rate }).map_err(|_| {
        let message = format!("Files a second: {:?} is no number from 1 on", request.form.text("rate"));
        Refusal::new(StatusCode::BAD_REQUEST, message)
    });
    begin(console, request, work, "rewrap").await
}

async fn begin(console: &Console, request: &Request, work: Result<Work, Refusal>, form: &str) -> Outcome {
    let key = request.key()?;
    let job = match work.and_then(|work| console.start(work)) {
        Ok(job) => job,
        Err(why) => return key::refused(console, request, form, &why).await,
    };
    job.wait().await;
    let notice = match job.state() {
        State::Running(_) => format!("{} began.", job.work.name()),
        State::Done(told, _) => format!("{}: {told}.", job.work.name()),
        State::Failed(why, _) => return key::refused(console, request, form, &why.into()).await,
    };
    Ok(Page::done(format!("keys/{key}#versions"), notice))
}

/// Stops what is under way.
pub(super) async fn stop(console: &Console, request: &Request) -> Outcome {
    let key = request.key()?;
    let running = console.jobs.last().filter(Job::is_running);
    let notice = match running {
        None => "Nothing is under way any more.".to_owned(),
        Some(job) => {
            job.stop();
            job.wait().await;
            format!("{} stops; what is done stays done.", job.work.name())
        }
    };
    Ok(Page::done(format!("keys/{key}#versions"), notice))
}
