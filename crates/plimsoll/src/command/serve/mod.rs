//! `serve`: the local store as a registry, and clearing it up.

mod access;
mod cache;
mod collect;
mod encryption;
mod log;
mod storage;
mod webhook;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;
use encryption::Encryption;
use pipeline::configuration::{ByteSize, Timespan};
use registry::server::{Access, Immutable, PublicUrl, Server, ServerOptions};
use serde::Serialize;
use store::{Children, LayoutStore};

use crate::defect;
use crate::error::Error;
use crate::interrupt;
use crate::session::Session;
use crate::ui::Verbosity;

/// Serves the local store
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Registry(Registry),
    Collect(collect::Collect),
}

/// Serves the local store as a registry that any client pushes to and pulls from
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Images `local/NAME` of the store are `ADDRESS/NAME` to clients, and what they push is `local/NAME` here.
It stops on SIGINT and SIGTERM, after the requests that are under way. -v prints every request.

Examples:
  $ plimsoll serve registry
  $ plimsoll serve registry --listen 0.0.0.0:5000 --root images --immutable-tag 'v*'
  $ plimsoll serve registry --listen 0.0.0.0:5000 --htpasswd users --anonymous-pull --tls-self-signed registry.example
  $ plimsoll serve registry --storage 's3://acme-images/prod?region=eu-central-1' --redirect-blobs 20m
  $ plimsoll serve registry --proxy hub=docker.io --proxy ghcr=ghcr.io --collect-every 1h --proxy-size 50GiB
  $ plimsoll serve registry --webhook https://ci.example/hooks --webhook-secret env:HOOK_SECRET
  $ plimsoll serve registry --listen 0.0.0.0:5000 --access access.toml --tls-certificate c.pem --tls-key k.pem"
)]
struct Registry {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// Tags that neither move nor go once they are set, [REPOSITORY:]TAG; * stands for anything
    #[arg(long, value_name = "PATTERN")]
    immutable_tag: Vec<String>,
    /// Lets clients pull and list only
    #[arg(long)]
    read_only: bool,
    /// Who may do what: accounts, tokens, CI jobs, rules, quotas (see docs/registry.md)
    #[arg(long, value_name = "FILE", conflicts_with = "htpasswd")]
    access: Option<PathBuf>,
    /// Accounts, each of which may do everything; made with htpasswd -B
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Lets everybody pull, with --htpasswd
    #[arg(long, requires = "htpasswd")]
    anonymous_pull: bool,
    #[command(flatten)]
    encryption: Encryption,
    #[command(flatten)]
    storage: storage::Storage,
    #[command(flatten)]
    cache: cache::Cache,
    #[command(flatten)]
    webhooks: webhook::Webhooks,
    /// How clients reach this registry, where a proxy stands before it, such as https://registry.example
    #[arg(long, value_name = "URL")]
    public_url: Option<PublicUrl>,
    /// Removes content that no image needs, again and again after this time, such as 1h
    #[arg(long, value_name = "TIME")]
    collect_every: Option<Timespan>,
    /// How long content stays that no image needs yet
    #[arg(long, value_name = "TIME", default_value = "24h")]
    collect_after: Timespan,
    /// Counters for Prometheus at /metrics, for everybody who reaches the address
    #[arg(long)]
    metrics: bool,
    /// What is printed of each request [default: none, text with -v]
    #[arg(long, value_name = "FORM")]
    access_log: Option<log::Form>,
    /// The largest blob that is taken, such as 10GiB
    #[arg(long, value_name = "SIZE")]
    max_blob_size: Option<ByteSize>,
    /// Refuses images of which a layer is missing
    #[arg(long)]
    whole_images: bool,
}

/// Where the registry is.
#[derive(Debug, Serialize)]
struct Started {
    address: String,
    store: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_sha256: Option<String>,
}

impl Arguments {
    /// Serves until a signal comes.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        match &self.what {
            What::Registry(registry) => registry.run(session),
            What::Collect(collect) => collect.run(session),
        }
    }
}

impl Registry {
    fn run(&self, session: &Session) -> Result<(), Error> {
        session.refuse_dry_run("serve registry")?;
        let store = session.store()?;
        let root = store.root().display().to_string();
        interrupt::take();
        defect::survive_in_servers();
        let options = self.options(session, store)?;
        let root = options.bucket.as_ref().map_or(root, |bucket| bucket.store.name().to_owned());
        let tls = options.tls.clone();
        let server = Server::start(options)?;
        session.ui.answer(
            "serve",
            &Started {
                address: server.address().to_string(),
                store: root,
                certificate_sha256: tls.map(|tls| tls.fingerprint().to_owned()),
            },
        )?;
        let signal = interrupt::wait();
        session.ui.note("stopping when the requests under way are answered; a second signal stops at once");
        server.stop();
        server.join();
        Err(Error::Stopped(signal))
    }

    fn options(&self, session: &Session, store: LayoutStore) -> Result<ServerOptions, Error> {
        let mut options = ServerOptions::new(self.listen, store);
        options.immutable = self.immutable_tag.iter().map(|text| Immutable::new(text)).collect();
        let folder = &session.environment.folder;
        let (mut receivers, mut beside) = (Vec::new(), folder.clone());
        if let Some(path) = &self.access {
            let path = folder.join(path);
            receivers = access::read(session, &path, &mut options)?;
            beside = path.parent().unwrap_or(folder).to_owned();
        }
        options.webhooks = self.webhooks.options(session, receivers, &beside)?;
        options.public_url = self.public_url.clone();
        if let Some(path) = &self.htpasswd {
            let path = session.environment.folder.join(path);
            options.policy = Some(access::of_accounts(session, &path, self.anonymous_pull)?);
        }
        options.tls = self.encryption.certificate(session)?;
        options.max_blob_bytes = self.max_blob_size.map(|size| size.0);
        if self.read_only {
            options.access = Access::ReadOnly;
        }
        if self.whole_images {
            options.children = Children::Sparse;
        }
        options.bucket = self.storage.bucket(session)?;
        options.proxy = self.cache.options(session, self.listen)?;
        options.metrics = self.metrics;
        if let Some(every) = self.collect_every {
            options.collection = Some(collect::collection(session, every.0, self.collect_after.0)?);
        }
        let form = match session.ui.verbosity() >= Verbosity::Verbose {
            true => log::Form::Text,
            false => log::Form::None,
        };
        options.access_log = log::sink(session, self.access_log.unwrap_or(form));
        Ok(options)
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "registry at {}, images in {}", self.address, self.store)
    }
}
