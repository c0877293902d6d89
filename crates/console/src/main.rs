//! `rekeyfs-console`: AWS KMS's protocol on a mounted vault, for programs of this host. `rekeyfs kms serve` starts it, and
//! its one argument is an [`Order`]. docs/kms-endpoint.md is for its users.
//!
//! It is a program of its own, so that nothing that holds keys speaks HTTP. It links the library `rekeyfs` for the control
//! protocol's client, the table of the KMS interface and the types of both: so there is one definition of them, and a
//! request becomes a [`Call`](rekeyfs::kms::Call) by the same rules as a command line. That costs nothing in safety: the
//! library's code gives no access that this process doesn't have without it. It opens no vault and no keyring, and asks for
//! no secret; scripts/layers.sh checks that it names none of the modules that do.
//!
//! | module | what it does |
//! |--|--|
//! | `server` | connections: where clients connect, how many, how long |
//! | `endpoint` | a request: whose it is, what it asks, the answer |
//! | `sigv4` | signatures |
//! | `credentials` | access keys and what may be done with them |
//! | `host` | which names of this host a request may be for |
//! | `names` | ARNs of clients and of the vault |
//! | `vault` | the mount's control socket |
//! | `answer`, `log` | answers, and what is said on standard error |

mod answer;
mod credentials;
mod endpoint;
mod host;
mod log;
mod names;
mod server;
mod sigv4;
mod vault;

use std::io::Write;
use std::process::ExitCode;

use rekeyfs::console::{NewCredentials, Order};
use rekeyfs::mount::protect_memory;

use credentials::CredentialsError;
use server::ServerError;

/// Exit statuses, as `rekeyfs` has them.
const USAGE: u8 = 2;
const CREDENTIALS: u8 = 9;
const OTHER: u8 = 1;

/// Why it ends before it is told to.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("command line: this is started by `rekeyfs kms serve`; see `rekeyfs kms serve --help`")]
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
            Self::Credentials(_) | Self::Server(ServerError::Credentials(_)) => CREDENTIALS,
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
        Order::ServeKms(serve) => Ok(server::run(serve)?),
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
