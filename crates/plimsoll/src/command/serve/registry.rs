//! `serve registry`: its flags over what `plimsoll.toml` says, and the server that comes of it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use pipeline::configuration::{
    AccessLogForm, ByteSize, Configuration, OneOrMany, Serve, ServeRegistry, Timespan,
};
use pipeline::text::Text;
use registry::server::{Access, PublicUrl, Rules, Server, ServerOptions, Tls};
use serde::Serialize;
use store::{Children, LayoutStore};

use super::encryption::{self, Encryption};
use super::watch::{self, Files};
use super::{access, cache, collect, log, storage, webhook};
use crate::defect;
use crate::error::Error;
use crate::interrupt;
use crate::session::Session;
use crate::ui::Verbosity;

/// Where it listens where nothing else is said.
const LISTEN: &str = "127.0.0.1:5000";
/// How long content stays that no image needs where nothing else is said.
const COLLECT_AFTER: &str = "24h";

/// Serves the local store as a registry that any client pushes to and pulls from
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Images `local/NAME` of the store are `ADDRESS/NAME` to clients, and what they push is `local/NAME` here.
It stops on SIGINT and SIGTERM, after the requests that are under way. -v prints every request. Each flag can stand under its
own name in [serve.registry] of plimsoll.toml; flags win. --dry-run prints what would count, in that form.

Examples:
  $ plimsoll serve registry
  $ plimsoll serve registry --listen 0.0.0.0:5000 --root images --immutable-tag 'v*'
  $ plimsoll serve registry --listen 0.0.0.0:5000 --htpasswd users --anonymous-pull --tls-self-signed registry.example
  $ plimsoll serve registry --storage 's3://acme-images/prod?region=eu-central-1' --redirect-blobs 20m
  $ plimsoll serve registry --proxy hub=docker.io --proxy ghcr=ghcr.io --collect-every 1h --proxy-size 50GiB
  $ plimsoll serve registry --webhook https://ci.example/hooks --webhook-secret env:HOOK_SECRET
  $ plimsoll serve registry --config registry.toml --dry-run
  $ plimsoll serve registry --listen 0.0.0.0:5000 --access access.toml --tls-certificate c.pem --tls-key k.pem"
)]
pub struct Registry {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:5000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Tags that neither move nor go once they are set, [REPOSITORY:]TAG; * stands for anything
    #[arg(long, value_name = "PATTERN")]
    immutable_tag: Vec<String>,
    /// Lets clients pull and list only
    #[arg(long)]
    read_only: bool,
    /// Who may do what: accounts, tokens, CI jobs, rules, quotas (see docs/registry.md)
    #[arg(long, value_name = "FILE")]
    access: Option<PathBuf>,
    /// Accounts, each of which may do everything; made with htpasswd -B
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Lets everybody pull, with --htpasswd
    #[arg(long)]
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
    /// How long content stays that no image needs yet [default: 24h]
    #[arg(long, value_name = "TIME")]
    collect_after: Option<Timespan>,
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

/// Where the registry is, and who may do what.
#[derive(Debug, Serialize)]
struct Started {
    address: String,
    store: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_sha256: Option<String>,
    /// For people: who may push.
    #[serde(skip)]
    rights: &'static str,
}

/// What would count, for `--dry-run`.
#[derive(Debug, Serialize)]
struct Effective {
    settings: ServeRegistry,
}

impl Registry {
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let settings = self.settings(session)?;
        if session.global.dry_run {
            session.ui.answer("serve-settings", &Effective { settings })?;
            return Ok(());
        }
        let store = session.store()?;
        let root = store.root().display().to_string();
        interrupt::take();
        defect::survive_in_servers();
        let read = access::read(session, &settings, None)?;
        let (certificate, options) = options(session, &settings, store, &read)?;
        let root = options.bucket.as_ref().map_or(root, |bucket| bucket.store.name().to_owned());
        let (tls, rights) = (options.tls.clone(), rights(&options, &settings));
        let server = Server::start(options)?;
        session.ui.answer(
            "serve",
            &Started {
                address: server.address().to_string(),
                store: root,
                certificate_sha256: tls.as_ref().map(Tls::fingerprint),
                rights,
            },
        )?;
        let mut watched = vec![access::watched(session, &settings, read, server.rule_book())];
        watched.extend(tls.map(|tls| encryption::watched(session, &settings, certificate, tls)));
        let (stopping, stopped) = mpsc::channel();
        let signal = thread::scope(|threads| {
            let look = move || watch::run(watched, &stopped, &session.ui);
            if let Err(error) = thread::Builder::new().name("files".to_owned()).spawn_scoped(threads, look) {
                session
                    .ui
                    .warn(format!("changed rules and certificates count after a restart only: {error}"));
            }
            let signal = interrupt::wait();
            drop(stopping);
            signal
        });
        session.ui.note("stopping when the requests under way are answered; a second signal stops at once");
        server.stop();
        server.join();
        Err(Error::Stopped(signal))
    }

    /// Returns the flags over what the file says, with what counts where neither says anything.
    fn settings(&self, session: &Session) -> Result<ServeRegistry, Error> {
        let global = &session.global;
        let folder = &session.environment.folder;
        let file = Configuration::load_serve(folder, global.config.as_deref(), &global.settings)?;
        let mut settings = self.flags()?.laid_over(file.registry);
        if let Some((_, message)) = settings.contradictions().into_iter().next() {
            let hint = "each is a flag of this name, or a key of [serve.registry] in plimsoll.toml";
            return Err(Error::Usage { message, hint: Some(hint.to_owned()) });
        }
        settings.listen.get_or_insert(Text(LISTEN.parse().expect("it is an address")));
        settings.collect_after.get_or_insert(COLLECT_AFTER.parse().expect("it is a length of time"));
        let form = match session.ui.verbosity() >= Verbosity::Verbose {
            true => AccessLogForm::Text,
            false => AccessLogForm::None,
        };
        settings.access_log.get_or_insert(form);
        Ok(settings)
    }

    fn flags(&self) -> Result<ServeRegistry, Error> {
        let mut settings = ServeRegistry {
            listen: self.listen.map(Text),
            immutable_tag: OneOrMany(self.immutable_tag.clone()),
            read_only: self.read_only,
            access: self.access.clone(),
            htpasswd: self.htpasswd.clone(),
            anonymous_pull: self.anonymous_pull,
            public_url: self.public_url.clone().map(Text),
            collect_every: self.collect_every,
            collect_after: self.collect_after,
            metrics: self.metrics,
            access_log: self.access_log.map(AccessLogForm::from),
            max_blob_size: self.max_blob_size,
            whole_images: self.whole_images,
            ..ServeRegistry::default()
        };
        self.encryption.put(&mut settings);
        self.storage.put(&mut settings);
        self.cache.put(&mut settings);
        self.webhooks.put(&mut settings)?;
        Ok(settings)
    }
}

/// Returns how the server behaves, and the files of its certificate.
fn options(
    session: &Session,
    settings: &ServeRegistry,
    store: LayoutStore,
    read: &access::Read,
) -> Result<(Files, ServerOptions), Error> {
    let listen =
        settings.listen.as_ref().map_or_else(|| LISTEN.parse().expect("it is an address"), |text| text.0);
    let mut options = ServerOptions::new(listen, store);
    let Rules { policy, immutable, quotas } = read.rules.clone();
    (options.policy, options.immutable, options.quotas) = (policy, immutable, quotas);
    let folder = &session.environment.folder;
    let access = settings.access.as_ref().map(|path| folder.join(path));
    let beside = access.as_deref().and_then(Path::parent).unwrap_or(folder);
    options.webhooks = webhook::options(session, settings, read.webhooks.clone(), beside)?;
    options.public_url = settings.public_url.as_ref().map(|url| url.0.clone());
    let mut certificate = Files::default();
    options.tls = encryption::certificate(session, settings, &mut certificate)?;
    options.max_blob_bytes = settings.max_blob_size.map(|size| size.0);
    if settings.read_only {
        options.access = Access::ReadOnly;
    }
    if settings.whole_images {
        options.children = Children::Sparse;
    }
    options.bucket = storage::bucket(session, settings)?;
    options.proxy = cache::options(session, settings, listen)?;
    options.metrics = settings.metrics;
    if let (Some(every), Some(after)) = (settings.collect_every, settings.collect_after) {
        options.collection = Some(collect::collection(session, every.0, after.0)?);
    }
    options.access_log = log::sink(session, settings.access_log.unwrap_or(AccessLogForm::None));
    Ok((certificate, options))
}

/// Returns who may do what, in a few words.
fn rights(options: &ServerOptions, settings: &ServeRegistry) -> &'static str {
    match (&options.access, &options.policy) {
        (Access::ReadOnly, None) => "everybody may pull, nobody may push",
        (Access::ReadOnly, Some(_)) => "who may pull is decided by the rules, nobody may push",
        (Access::ReadWrite, None) => "everybody who reaches it may push and delete",
        (Access::ReadWrite, Some(_)) if settings.access.is_some() => "the rules decide who may do what",
        (Access::ReadWrite, Some(_)) if settings.anonymous_pull => {
            "accounts may push and delete, everybody may pull"
        }
        (Access::ReadWrite, Some(_)) => "accounts may push and delete, nobody else may pull",
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.certificate_sha256.is_some() { "HTTPS" } else { "plain HTTP" };
        let Self { address, store, rights, .. } = self;
        writeln!(f, "registry at {address}, images in {store}; {scheme}; {rights}")
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serve = Serve { registry: self.settings.clone() };
        let file = std::collections::BTreeMap::from([("serve", serve)]);
        let text = toml_edit::ser::to_string_pretty(&file).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}
