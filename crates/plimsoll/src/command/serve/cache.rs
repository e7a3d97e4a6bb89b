//! Which other registries `serve registry` is a cache of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pipeline::configuration::{ByteSize, Timespan};
use registry::client::{Client, ClientOptions, RetryPolicy};
use registry::server::{ProxyOptions, ProxyTrouble, Upstream};

use crate::error::Error;
use crate::session::{Session, credentials};

/// How often and after what wait another registry is asked again: clients wait meanwhile.
const ATTEMPTS: u32 = 2;
const WAIT: Duration = Duration::from_secs(1);

/// Other registries whose images are kept and served.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A cache of other registries")]
pub struct Cache {
    /// Serves and keeps what clients ask for of this registry, below PREFIX or under all names; may be
    /// repeated
    #[arg(long, value_name = "[PREFIX=]REGISTRY[/PATH]")]
    proxy: Vec<Upstream>,
    /// After how long a tag of such a registry is looked up again
    #[arg(long, value_name = "TIME", default_value = "1m", requires = "proxy")]
    proxy_age: Timespan,
    /// Lets go of what nobody asked for so long
    #[arg(long, value_name = "TIME", requires_all = ["proxy", "collect_every"])]
    proxy_keep: Option<Timespan>,
    /// Keeps at most so much; beyond that, what nobody asked for longest goes first
    #[arg(long, value_name = "SIZE", requires_all = ["proxy", "collect_every"])]
    proxy_size: Option<ByteSize>,
}

impl Cache {
    /// Returns what is cached; `None` for nothing.
    ///
    /// # Errors
    /// Credentials that cannot be read; a registry that may not be asked, or is this very one.
    pub fn options(&self, session: &Session, listen: SocketAddr) -> Result<Option<ProxyOptions>, Error> {
        if self.proxy.is_empty() {
            return Ok(None);
        }
        for registry in self.proxy.iter().map(Upstream::registry) {
            if registry.as_str() == listen.to_string() {
                return Err(Error::usage(format!(
                    "--proxy {registry} is the address of this registry itself"
                )));
            }
            if session.global.offline && !registry.is_loopback() {
                return Err(Error::usage(format!("--proxy {registry} cannot be asked with --offline")));
            }
        }
        let retry = RetryPolicy { attempts: ATTEMPTS, wait: WAIT, ..RetryPolicy::default() };
        let client = Client::new(ClientOptions {
            credentials: Arc::new(credentials(&session.environment)?),
            retry,
            // What others ask for is not to be fetched from wherever a manifest says.
            follow_urls: false,
            // What is asked again is told once, with what came of it.
            notice: Arc::new(|_| {}),
            ..session.client_options()?
        });
        let client = client.map_err(|error| Error::usage(error.to_string()))?;
        let ui = session.ui.clone();
        Ok(Some(ProxyOptions {
            upstreams: self.proxy.clone(),
            client,
            max_age: self.proxy_age.0,
            max_idle: self.proxy_keep.map(|time| time.0),
            max_bytes: self.proxy_size.map(|size| size.0),
            report: Arc::new(move |trouble| ui.warn(message(trouble))),
        }))
    }
}

fn message(trouble: &ProxyTrouble) -> String {
    let ProxyTrouble { what, reason, is_served } = trouble;
    match is_served {
        true => format!("{what} could not be looked up or kept, and is served as it is here: {reason}"),
        false => format!("{what} could not be fetched: {reason}"),
    }
}
