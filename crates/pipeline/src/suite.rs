//! Suites: commands inside an image, or beside it on this machine, on the very digests of the run.
//!
//! | a suite with | runs |
//! |---|---|
//! | `image`, `run` | the command in a sandbox of the image |
//! | `start`, `host` | the services' entry points in sandboxes, then the command on this machine |
//! | `host` | the command on this machine |
//!
//! Every command is told the images as `PLIMSOLL_IMAGE_<SERVICE>=repository@digest`, never as a tag,
//! and started services as `PLIMSOLL_ADDR_<SERVICE>=address:port`. Services of one suite share a
//! network of their own, in which they are called by their names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use builder::ImageRoot;
use builder::sandbox::{self, Health, Limits, RunningService, ServiceOptions};
use oci::{ImageConfig, Pinned, Platform};
use store::image_for_platform;

use crate::build::whole_lines;
use crate::configuration::{Name, Network, Suite};
use crate::daemon::Daemon;
use crate::ledger::{SuiteRecord, SuiteStatus};
use crate::process::{HostCommand, HostExit};
use crate::progress::{Progress, Stream};
use crate::tools::Tools;

/// How many suites run at the same time.
const SUITES_AT_ONCE: usize = 4;
/// How long a started service has to become healthy, where its suite has more time than that.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// What container engines give a command whose image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How a suite went.
#[derive(Clone, Debug)]
pub struct SuiteOutcome {
    /// What the ledger says of it.
    pub record: SuiteRecord,
    /// Why it did not pass.
    pub reason: Option<String>,
    /// Services it had to do with.
    pub services: Vec<Name>,
}

/// Why a suite could not be run, or did not pass.
#[derive(Debug, thiserror::Error)]
enum SuiteError {
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    TimedOut(String),
    #[error("{0}")]
    Skipped(String),
}

impl SuiteError {
    fn failed(what: &str, error: &dyn std::error::Error) -> Self {
        Self::Failed(format!("{what}: {}", store::with_causes(error)))
    }
}

/// Runs suites side by side, each when those it needs have passed. `images` are the images of the
/// services that have one.
pub fn run(
    suites: &BTreeMap<Name, Suite>,
    images: &BTreeMap<Name, Pinned>,
    daemon: Option<&Daemon>,
    tools: &Tools<'_>,
) -> BTreeMap<Name, SuiteOutcome> {
    let runs = Runs { suites, images, daemon, tools, known: Mutex::default(), changed: Condvar::new() };
    let waiting = Mutex::new(in_order(suites).into_iter());
    std::thread::scope(|threads| {
        for _ in 0..SUITES_AT_ONCE.min(suites.len()) {
            threads.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no holder panics").next();
                    match next {
                        Some(name) => runs.one(name),
                        None => return,
                    }
                }
            });
        }
    });
    runs.known.into_inner().expect("no holder panics")
}

/// Suites after those they need, so that a thread that waits never waits for one not yet begun.
fn in_order(suites: &BTreeMap<Name, Suite>) -> Vec<&Name> {
    let mut order: Vec<&Name> = Vec::new();
    while order.len() < suites.len() {
        let ready = |(name, suite): &(&Name, &Suite)| {
            !order.contains(name)
                && suite.needs.iter().all(|need| order.contains(&need) || !suites.contains_key(need))
        };
        let next: Vec<&Name> = suites.iter().filter(ready).map(|(name, _)| name).collect();
        if next.is_empty() {
            // A circle is refused when the configuration is read; nothing is left out here.
            order.extend(suites.keys().filter(|name| !order.contains(name)).collect::<Vec<_>>());
        }
        order.extend(next);
    }
    order
}

struct Runs<'a> {
    suites: &'a BTreeMap<Name, Suite>,
    images: &'a BTreeMap<Name, Pinned>,
    daemon: Option<&'a Daemon>,
    tools: &'a Tools<'a>,
    known: Mutex<BTreeMap<Name, SuiteOutcome>>,
    changed: Condvar,
}

impl Runs<'_> {
    fn one(&self, name: &Name) {
        let suite = &self.suites[name];
        let log = self.tools.output.join("logs").join(format!("suite-{name}.log"));
        let result = self.wait_for(suite).map(|()| {
            (self.tools.observer)(Progress::SuiteStarted { suite: name.clone() });
            let started = Instant::now();
            let result = SuiteRun::new(name, suite, &log, self).and_then(|mut run| run.all_shards());
            (started.elapsed().as_secs_f64(), result)
        });
        let (seconds, result) = match result {
            Ok((seconds, result)) => (seconds, result),
            Err(error) => (0.0, Err(error)),
        };
        let (status, reason) = match result {
            Ok(()) => (SuiteStatus::Passed, None),
            Err(SuiteError::Failed(reason)) => (SuiteStatus::Failed, Some(reason)),
            Err(SuiteError::TimedOut(reason)) => (SuiteStatus::TimedOut, Some(reason)),
            Err(SuiteError::Skipped(reason)) => (SuiteStatus::Skipped, Some(reason)),
        };
        (self.tools.observer)(Progress::SuiteFinished {
            suite: name.clone(),
            status,
            seconds,
            reason: reason.clone(),
        });
        let log = log.is_file().then_some(log);
        let record = SuiteRecord { status, seconds, log };
        let outcome = SuiteOutcome { record, reason, services: suite.all_services() };
        self.known.lock().expect("no holder panics").insert(name.clone(), outcome);
        self.changed.notify_all();
    }

    fn wait_for(&self, suite: &Suite) -> Result<(), SuiteError> {
        for need in suite.needs.iter().filter(|need| self.suites.contains_key(*need)) {
            let known = self.known.lock().expect("no holder panics");
            let known = self.changed.wait_while(known, |known| !known.contains_key(need));
            if known.expect("no holder panics")[need].record.status != SuiteStatus::Passed {
                return Err(SuiteError::Skipped(format!("suite {need}, which it needs, did not pass")));
            }
        }
        Ok(())
    }
}

struct SuiteRun<'a> {
    name: &'a Name,
    suite: &'a Suite,
    runs: &'a Runs<'a>,
    log: Arc<Mutex<Log>>,
    deadline: Instant,
}

/// The suite's log file, and lines for whoever watches.
struct Log {
    file: File,
    pending: Vec<u8>,
}

impl<'a> SuiteRun<'a> {
    fn new(name: &'a Name, suite: &'a Suite, log: &Path, runs: &'a Runs<'a>) -> Result<Self, SuiteError> {
        let failed = |error: std::io::Error| SuiteError::failed(&format!("write {}", log.display()), &error);
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = File::create(log).map_err(failed)?;
        let log = Arc::new(Mutex::new(Log { file, pending: Vec::new() }));
        Ok(Self { name, suite, runs, log, deadline: Instant::now() + suite.timeout.0 })
    }

    fn all_shards(&mut self) -> Result<(), SuiteError> {
        for service in self.suite.all_services() {
            if !self.runs.images.contains_key(&service) {
                return Err(SuiteError::Skipped(format!("service {service} has no image")));
            }
        }
        if self.suite.needs_daemon {
            self.load_into_daemon()?;
        }
        (1..=self.suite.shards).try_for_each(|shard| self.shard(shard))
    }

    fn load_into_daemon(&self) -> Result<(), SuiteError> {
        let Some(daemon) = self.runs.daemon else {
            let reason = "it needs a container daemon and none is reachable: start Docker or Podman, or set DOCKER_HOST";
            return Err(SuiteError::Skipped(reason.to_owned()));
        };
        for service in self.suite.all_services() {
            let image = &self.runs.images[&service];
            let local = self.runs.tools.lazy(image.repository());
            daemon
                .load_service(&service, image, &local)
                .map(drop)
                .map_err(|error| SuiteError::failed(&format!("load {service} into the daemon"), &error))?;
        }
        Ok(())
    }

    fn shard(&self, shard: u32) -> Result<(), SuiteError> {
        let mut environment = self.environment(shard);
        let roots: Result<Vec<(Name, ImageRoot<'a>)>, SuiteError> =
            self.suite.start.iter().map(|name| Ok((name.clone(), self.root(name)?))).collect();
        let roots = roots?;
        let mut services: Vec<RunningService> = Vec::new();
        for (name, root) in &roots {
            let (service, port) = self.start(name, root, services.first())?;
            let address = service.address(port).expect("the port was asked for");
            environment.insert(format!("PLIMSOLL_ADDR_{}", name.for_environment()), address.to_string());
            services.push(service);
        }
        for (service, (name, _)) in services.iter().zip(&roots) {
            service
                .wait_healthy(START_TIMEOUT.min(self.left()))
                .map_err(|error| SuiteError::failed(&format!("service {name} did not come up"), &error))?;
        }
        let result = self.commands(&environment);
        for (service, (_, root)) in services.into_iter().zip(&roots) {
            let signal = root.config.config.stop_signal.as_deref().unwrap_or("SIGTERM");
            // The suite's result stands; a service that does not stop in time is killed.
            let _ = service.stop(signal, STOP_GRACE);
        }
        self.end_log();
        result
    }

    fn commands(&self, environment: &BTreeMap<String, String>) -> Result<(), SuiteError> {
        if let (Some(image), Some(command)) = (&self.suite.image, &self.suite.run) {
            self.inside(image, command.words(), environment)?;
        }
        match &self.suite.host {
            Some(command) => self.beside(command.words(), environment),
            None => Ok(()),
        }
    }

    fn environment(&self, shard: u32) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        for (service, image) in self.runs.images {
            let repository = self.runs.tools.reachable(image.repository());
            let image = repository.unwrap_or_else(|| image.repository().clone()).pin(image.digest());
            environment.insert(format!("PLIMSOLL_IMAGE_{}", service.for_environment()), image.to_string());
        }
        environment.insert("PLIMSOLL_SUITE".to_owned(), self.name.to_string());
        environment.insert("PLIMSOLL_SHARD".to_owned(), shard.to_string());
        environment.insert("PLIMSOLL_SHARDS".to_owned(), self.suite.shards.to_string());
        environment.extend(self.suite.env.clone());
        environment
    }

    fn root(&self, service: &Name) -> Result<ImageRoot<'a>, SuiteError> {
        let failed =
            |error: &dyn std::error::Error| SuiteError::failed(&format!("use the image of {service}"), error);
        let image = &self.runs.images[service];
        let local = self.runs.tools.lazy(image.repository());
        let descriptor =
            store::ImageStore::document(&local, &image.digest()).map_err(|error| failed(&error))?;
        let manifest = image_for_platform(&local, descriptor.descriptor(), &Platform::host())
            .map_err(|error| failed(&error))?;
        self.runs.tools.embedded.image_root(&local, &manifest).map_err(|error| failed(&error))
    }

    fn inside(
        &self,
        service: &Name,
        words: Vec<String>,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), SuiteError> {
        let root = self.root(service)?;
        let mut command = image_command(&root.config, words);
        command.environment.extend(environment.clone());
        command.network = sandbox_network(self.suite.network);
        command.limits = Limits { timeout: Some(self.left()), ..Limits::default() };
        let sandbox = self.sandbox()?;
        let exit = sandbox
            .run(root.rootfs(), &command, &mut |_, bytes| self.output(bytes))
            .map_err(|error| SuiteError::failed("cannot run in the image", &error))?;
        if let Some(report) = &self.suite.junit {
            let inside = Path::new(&command.working_directory).join(report);
            let relative = inside.strip_prefix("/").unwrap_or(&inside);
            self.keep_report(&root.upper().join(relative))?;
        }
        match exit {
            exit if exit.timed_out => Err(self.timed_out()),
            exit if exit.success() => Ok(()),
            exit => Err(SuiteError::Failed(exit.to_string())),
        }
    }

    fn beside(&self, words: Vec<String>, environment: &BTreeMap<String, String>) -> Result<(), SuiteError> {
        let tools = self.runs.tools;
        let mut all = tools.environment.clone();
        all.extend(environment.clone());
        let command = HostCommand {
            words,
            folder: tools.project.clone(),
            environment: all.into_iter().collect(),
            timeout: self.left(),
        };
        let exit = command
            .run(&mut |bytes| self.output(bytes))
            .map_err(|error| SuiteError::failed("cannot run the command", &error))?;
        if let Some(report) = &self.suite.junit {
            self.keep_report(&tools.project.join(report))?;
        }
        match exit {
            HostExit::Code(0) => Ok(()),
            HostExit::TimedOut => Err(self.timed_out()),
            other => Err(SuiteError::Failed(other.to_string())),
        }
    }

    fn start(
        &self,
        name: &Name,
        root: &ImageRoot<'_>,
        first: Option<&RunningService>,
    ) -> Result<(RunningService, u16), SuiteError> {
        let config = &root.config.config;
        let port = self.suite.port.or_else(|| exposed_port(&root.config)).ok_or_else(|| {
            let reason =
                format!("service {name}: which port? EXPOSE it, or set `port` in [suite.{}]", self.name);
            SuiteError::Failed(reason)
        })?;
        let words = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).cloned().collect();
        let mut command = image_command(&root.config, words);
        if command.arguments.is_empty() {
            return Err(SuiteError::Failed(format!("service {name} has neither ENTRYPOINT nor CMD")));
        }
        command.environment.extend(self.suite.env.clone());
        command.network = sandbox_network(self.suite.network);
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        command.hosts = self.suite.start.iter().map(|name| (loopback, name.to_string())).collect();
        let health = health(&root.config);
        let options = ServiceOptions { ports: &[port], health: health.as_ref(), join: first };
        let log = Arc::clone(&self.log);
        let listen = Box::new(move |_, bytes: &[u8]| {
            // The log is for people; a full disk must not end the service.
            let _ = log.lock().expect("no holder panics").file.write_all(bytes);
        });
        let service = self
            .sandbox()?
            .start(root.rootfs(), &command, &options, listen)
            .map_err(|error| SuiteError::failed(&format!("service {name} did not start"), &error))?;
        Ok((service, port))
    }

    fn sandbox(&self) -> Result<Arc<sandbox::Sandbox>, SuiteError> {
        let sandbox = self.runs.tools.embedded.workspace().sandbox();
        sandbox.map_err(|error| SuiteError::failed("cannot make a sandbox", &error))
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn timed_out(&self) -> SuiteError {
        SuiteError::TimedOut(format!("it took longer than {} s", self.suite.timeout.0.as_secs()))
    }

    fn output(&self, bytes: &[u8]) {
        let mut log = self.log.lock().expect("no holder panics");
        // As above: what people watch goes on without the file.
        let _ = log.file.write_all(bytes);
        log.pending.extend_from_slice(bytes);
        for line in whole_lines(&mut log.pending) {
            self.line(line);
        }
    }

    fn end_log(&self) {
        let rest = std::mem::take(&mut self.log.lock().expect("no holder panics").pending);
        if !rest.is_empty() {
            self.line(String::from_utf8_lossy(&rest).into_owned());
        }
    }

    fn line(&self, line: String) {
        let (suite, stream) = (self.name.clone(), Stream::Stdout);
        (self.runs.tools.observer)(Progress::SuiteOutput { suite, line, stream });
    }

    /// Copies a report to where the run keeps them; a suite that wrote none has none.
    fn keep_report(&self, written: &Path) -> Result<(), SuiteError> {
        let folder = self.runs.tools.output.join("reports");
        let kept: PathBuf = folder.join(format!("{}.xml", self.name));
        let is_file = fs::symlink_metadata(written).is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            let message = format!("suite {} wrote no report at {}", self.name, written.display());
            (self.runs.tools.observer)(Progress::Warning { message, place: None });
            return Ok(());
        }
        fs::create_dir_all(&folder)
            .and_then(|()| fs::copy(written, &kept))
            .map(drop)
            .map_err(|error| SuiteError::failed(&format!("keep the report {}", kept.display()), &error))
    }
}

/// Returns a command with the surroundings the image gives it.
pub fn image_command(config: &ImageConfig, arguments: Vec<String>) -> sandbox::Command {
    let config = &config.config;
    let pair = |entry: &String| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.to_owned(), value.to_owned())
    };
    let mut environment: Vec<(String, String)> = config.env.iter().map(pair).collect();
    if !environment.iter().any(|(name, _)| name == "PATH") {
        environment.insert(0, ("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    sandbox::Command {
        arguments,
        environment,
        working_directory: if config.working_dir.is_empty() { "/" } else { &config.working_dir }.to_owned(),
        user: config.user.clone(),
        hostname: "plimsoll".to_owned(),
        network: sandbox::Network::Private,
        ..sandbox::Command::new(&[])
    }
}

fn sandbox_network(network: Network) -> sandbox::Network {
    match network {
        Network::Private => sandbox::Network::Private,
        Network::Host => sandbox::Network::Host,
        Network::None => sandbox::Network::None,
    }
}

/// The lowest TCP port the image exposes.
fn exposed_port(config: &ImageConfig) -> Option<u16> {
    let ports = config.config.exposed_ports.as_ref()?;
    let tcp = |port: &String| port.strip_suffix("/tcp").unwrap_or(port).parse::<u16>().ok();
    ports.0.iter().filter_map(tcp).min()
}

/// Source: Docker's meaning of HEALTHCHECK; times that are 0 are its defaults.
fn health(config: &ImageConfig) -> Option<Health> {
    let check = config.config.healthcheck.as_ref()?;
    let (kind, rest) = check.test.split_first()?;
    let arguments = match kind.as_str() {
        "CMD" => rest.to_vec(),
        "CMD-SHELL" => {
            let shell = config.config.shell.clone();
            let mut words = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            words.extend(rest.iter().cloned());
            words
        }
        _ => return None,
    };
    let time =
        |nanoseconds: i64| u64::try_from(nanoseconds).ok().filter(|time| *time > 0).map(Duration::from_nanos);
    let default = Health::new(arguments);
    Some(Health {
        interval: time(check.interval).unwrap_or(default.interval),
        timeout: time(check.timeout).unwrap_or(default.timeout),
        start_period: time(check.start_period).unwrap_or(default.start_period),
        retries: u32::try_from(check.retries).ok().filter(|count| *count > 0).unwrap_or(default.retries),
        ..default
    })
}
