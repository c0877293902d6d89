//! `rekeyfs-console`: a mounted vault over HTTP, for this host alone: AWS KMS's protocol for programs (`rekeyfs kms serve`
//! starts it), or pages for a browser (`rekeyfs console`). Its one argument is an [`Order`]. docs/kms-endpoint.md is for users
//! of the first.
//!
//! It is a program of its own, so that nothing that holds keys speaks HTTP. It links the library `rekeyfs` for the control
//! protocol's client, the table of the KMS interface and the types of both: so there is one definition of them, and a
//! request becomes a [`Call`](rekeyfs::kms::Call) by the same rules as a command line. That costs nothing in safety: the
//! library's code gives no access that this process doesn't have without it. It opens no vault and no keyring, and asks for
//! no secret; scripts/layers.sh checks that it names none of the modules that do.
//!
//! | module | what it does |
//! |--|--|
//! | `server`, `connections`, `body` | connections and bodies: where clients connect, how many, how long |
//! | `host` | which names of this host a request may be for |
//! | `vault` | the mount's control socket |
//! | `log` | what is said on standard error |
//! | **AWS's protocol** | |
//! | `endpoint` | a request: whose it is, what it asks, the answer |
//! | `sigv4` | signatures |
//! | `credentials` | access keys and what may be done with them |
//! | `names` | ARNs of clients and of the vault |
//! | `answer` | answers |
//! | **the console** | |
//! | `browser` | a request: whether it is the session's, which page it is for, the reply |
//! | `session` | the one session, and its secrets |
//! | `pages` | the pages |
//! | `jobs` | work on all files, which goes on while pages come and go |
//! | `app`, `request`, `form` | what pages have and take |
//! | `reply`, `assets` | replies with their headers; style, script and icon |

mod answer;
mod app;
mod assets;
mod body;
mod browser;
mod connections;
mod credentials;
mod endpoint;
mod form;
mod host;
mod jobs;
mod log;
mod names;
mod pages;
mod reply;
mod request;
mod server;
mod session;
mod sigv4;
mod vault;

use std::io::Write;
use std::process::ExitCode;

use rekeyfs::console::{Listen, NewCredentials, Order};
use rekeyfs::mount::protect_memory;

use browser::Browser;
use credentials::CredentialsError;
use endpoint::Endpoint;
use server::ServerError;

/// Exit statuses, as `rekeyfs` has them.
const USAGE: u8 = 2;
const CREDENTIALS: u8 = 9;
const OTHER: u8 = 1;

/// Why it ends before it is told to.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("command line: this is started by `rekeyfs kms serve` and `rekeyfs console`; see their --help")]
    Usage,
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("standard output: {0}")]
    Output(std::io::Error),
}

impl Error {
    fn status(&self) -> u8 {
        match self {
            Self::Usage => USAGE,
            Self::Credentials(_) => CREDENTIALS,
            Self::Server(_) | Self::Output(_) => OTHER,
        }
    }
}

fn main() -> ExitCode {
    // Secrets of clients and plaintexts on their way pass through this memory.
    protect_memory();
    match order().and_then(|order| run(&order)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::say(&error.to_string());
            error.status().into()
        }
    }
}

fn order() -> Result<Order, Error> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(text), None) => {
            text.to_str().and_then(|text| serde_json::from_str(text).ok()).ok_or(Error::Usage)
        }
        _ => Err(Error::Usage),
    }
}

fn run(order: &Order) -> Result<(), Error> {
    match order {
        Order::ServeKms(serve) => Ok(server::run(Endpoint::of(serve)?, &serve.listen)?),
        Order::ServePages(serve) => Ok(server::run(Browser::of(serve), &Listen::Loopback(serve.listen))?),
        Order::NewCredentials(new) => new_credentials(new),
    }
}

/// Prints the new credentials as a profile of the AWS CLI's and SDKs' file.
fn new_credentials(new: &NewCredentials) -> Result<(), Error> {
    let made = credentials::add(new.credentials.as_path(), new.principal, new.read_only)?;
    let profile = zeroize::Zeroizing::new(format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        made.access_key,
        made.secret.as_str()
    ));
    let mut out = std::io::stdout();
    out.write_all(profile.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)
}
