//! Which other registries `serve registry` is a cache of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pipeline::configuration::{ByteSize, OneOrMany, ServeRegistry, Timespan};
use pipeline::text::Text;
use registry::client::{Client, ClientOptions, RetryPolicy};
use registry::server::{ProxyOptions, ProxyTrouble, Upstream};

use crate::error::Error;
use crate::session::{Session, credentials};

/// How often and after what wait another registry is asked again: clients wait meanwhile.
const ATTEMPTS: u32 = 2;
const WAIT: Duration = Duration::from_secs(1);
/// After how long a tag is looked up again where nothing else is said.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Other registries whose images are kept and served.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A cache of other registries")]
pub struct Cache {
    /// Serves and keeps what clients ask for of this registry, below PREFIX or under all names; may be
    /// repeated
    #[arg(long, value_name = "[PREFIX=]REGISTRY[/PATH]")]
    proxy: Vec<Upstream>,
    /// After how long a tag of such a registry is looked up again [default: 1m]
    #[arg(long, value_name = "TIME")]
    proxy_age: Option<Timespan>,
    /// Lets go of what nobody asked for so long
    #[arg(long, value_name = "TIME")]
    proxy_keep: Option<Timespan>,
    /// Keeps at most so much; beyond that, what nobody asked for longest goes first
    #[arg(long, value_name = "SIZE")]
    proxy_size: Option<ByteSize>,
}

impl Cache {
    /// Puts the flags into the settings.
    pub fn put(&self, settings: &mut ServeRegistry) {
        settings.proxy = OneOrMany(self.proxy.iter().cloned().map(Text).collect());
        settings.proxy_age = self.proxy_age;
        settings.proxy_keep = self.proxy_keep;
        settings.proxy_size = self.proxy_size;
    }
}

/// Returns what is cached; `None` for nothing.
///
/// # Errors
/// Credentials that cannot be read; a registry that may not be asked, or is this very one.
pub fn options(
    session: &Session,
    settings: &ServeRegistry,
    listen: SocketAddr,
) -> Result<Option<ProxyOptions>, Error> {
    if settings.proxy.is_empty() {
        return Ok(None);
    }
    for registry in settings.proxy.iter().map(|proxy| proxy.registry()) {
        if registry.as_str() == listen.to_string() {
            return Err(Error::usage(format!("--proxy {registry} is the address of this registry itself")));
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
        upstreams: settings.proxy.iter().map(|proxy| proxy.0.clone()).collect(),
        client,
        max_age: settings.proxy_age.map_or(MAX_AGE, |time| time.0),
        max_idle: settings.proxy_keep.map(|time| time.0),
        max_bytes: settings.proxy_size.map(|size| size.0),
        report: Arc::new(move |trouble| ui.warn(message(trouble))),
    }))
}

fn message(trouble: &ProxyTrouble) -> String {
    let ProxyTrouble { what, reason, is_served } = trouble;
    match is_served {
        true => format!("{what} could not be looked up or kept, and is served as it is here: {reason}"),
        false => format!("{what} could not be fetched: {reason}"),
    }
}
