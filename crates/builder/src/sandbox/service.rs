//! Commands that keep running while tests talk to them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::command::{Command, Exit, Network, OutputStream, RootFs};
use super::error::SandboxError;
use super::launch::{self, Launched};
use super::message::{Order, Report, Role, ServiceJob, Task};
use super::{Sandbox, memory_file};

/// What a command needs beside its own settings to be a service.
#[derive(Debug, Default, Clone, Copy)]
pub struct ServiceOptions<'a> {
    /// Ports it listens on, to be reached from outside at [`RunningService::address`].
    pub ports: &'a [u16],
    /// The image's health check. Without one, a service is healthy when all its ports accept connections,
    /// or as soon as it runs where it has none.
    pub health: Option<&'a Health>,
    /// Another service whose network it shares: each reaches the other at 127.0.0.1.
    pub join: Option<&'a RunningService>,
}

/// The health check of an image's config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Program and arguments; the shell form is `["/bin/sh", "-c", TEXT]`.
    pub arguments: Vec<String>,
    /// Time between two probes of a service that is up.
    pub interval: Duration,
    /// Longest time a probe may take.
    pub timeout: Duration,
    /// Time in which failures do not count.
    pub start_period: Duration,
    /// Failures after which the service counts as unhealthy.
    pub retries: u32,
}

impl Health {
    /// Makes a health check with Docker's defaults: every 30 s, for at most 30 s, three times.
    pub fn new(arguments: Vec<String>) -> Self {
        let half_a_minute = Duration::from_secs(30);
        Self {
            arguments,
            interval: half_a_minute,
            timeout: half_a_minute,
            start_period: Duration::ZERO,
            retries: 3,
        }
    }
}

/// How the sandbox process finds out whether a service is healthy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Check {
    Command(Health),
    Ports(Vec<u16>),
}

/// Receives a service's output, on a thread of its own.
pub type OutputListener = Box<dyn FnMut(OutputStream, &[u8]) + Send>;

/// A service that was started. Dropping it kills it with everything it started.
#[derive(Debug)]
pub struct RunningService {
    addresses: BTreeMap<u16, SocketAddr>,
    orders: Channel,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What is known of a service.
#[derive(Debug, Default)]
struct State {
    network: Option<OwnedFd>,
    running: bool,
    healthy: bool,
    unhealthy: Option<String>,
    last_reason: Option<String>,
    ended: Option<Result<Exit, SandboxError>>,
}

impl Sandbox {
    /// Starts a command that keeps running, and returns as soon as its program runs.
    ///
    /// With [`Network::Private`] a port on this machine's loopback is opened for each of its ports. With
    /// [`Network::Host`] it listens on this machine itself.
    ///
    /// # Errors
    /// As [`Sandbox::run`].
    pub fn start(
        &self,
        root: &RootFs,
        command: &Command,
        options: &ServiceOptions<'_>,
        output: OutputListener,
    ) -> Result<RunningService, SandboxError> {
        let started = Instant::now();
        let doors = Doors::open(command.network, options.ports)?;
        let input = command.stdin.as_deref().map(memory_file).transpose()?;
        let joined = options.join.map(RunningService::network).transpose()?;
        let mut files = self.namespace_file();
        files.extend(input.iter().map(|file| (Role::Input, file.as_fd())));
        files.extend(joined.iter().map(|file| (Role::NetworkNamespace, file.as_fd())));
        files
            .extend(doors.listeners.iter().map(|(port, listener)| (Role::Listener(*port), listener.as_fd())));
        let service = ServiceJob {
            relayed: doors.listeners.iter().map(|(port, _)| *port).collect(),
            check: check(options),
        };
        let task = Task::Run(self.job(root, command, Some(service)));
        let launched = launch::launch(&self.program, task, &files)?;
        let service = RunningService::listen(launched, doors.addresses, started, output)?;
        service.wait_running()?;
        Ok(service)
    }
}

fn check(options: &ServiceOptions<'_>) -> Option<Check> {
    match options.health {
        Some(health) => Some(Check::Command(health.clone())),
        None => Some(Check::Ports(options.ports.to_vec())),
    }
}

/// The outer ends of a service's ports.
struct Doors {
    addresses: BTreeMap<u16, SocketAddr>,
    listeners: Vec<(u16, TcpListener)>,
}

impl Doors {
    fn open(network: Network, ports: &[u16]) -> Result<Self, SandboxError> {
        let mut doors = Self { addresses: BTreeMap::new(), listeners: Vec::new() };
        for port in ports {
            let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            if network != Network::Host && !doors.addresses.contains_key(port) {
                let failed =
                    |error| SandboxError::setup(format!("open a port for the service's port {port}"), error);
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
                address = listener.local_addr().map_err(failed)?;
                doors.listeners.push((*port, listener));
            }
            doors.addresses.entry(*port).or_insert(address);
        }
        Ok(doors)
    }
}

impl RunningService {
    fn listen(
        launched: Launched,
        addresses: BTreeMap<u16, SocketAddr>,
        started: Instant,
        mut output: OutputListener,
    ) -> Result<Self, SandboxError> {
        let failed = |error: std::io::Error| SandboxError::setup("listen to the service", error);
        let orders = launched.process.orders().map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let noted = Arc::clone(&shared);
        let listen = move || {
            let pump = || launched.pump(&mut output, &mut |report, files| noted.note(report, files));
            // Whoever waits for the service must learn of its end also where the caller's own code broke off.
            let last = catch_unwind(AssertUnwindSafe(pump)).unwrap_or_else(|_| {
                Err(SandboxError::Lost { status: "the listener to its output panicked".to_owned() })
            });
            let ended = last.and_then(Sandbox::outcome).map(|ended| ended.after(started.elapsed()));
            noted.change(|state| state.ended = Some(ended));
        };
        let listener =
            std::thread::Builder::new().name("service".to_owned()).spawn(listen).map_err(failed)?;
        Ok(Self { addresses, orders, shared, listener: Some(listener) })
    }

    /// Returns where a port of the service is reached on this machine; `None` for a port it was not started with.
    pub fn address(&self, port: u16) -> Option<SocketAddr> {
        self.addresses.get(&port).copied()
    }

    /// Returns how the service ended, if it did.
    pub fn ended(&self) -> Option<Result<Exit, SandboxError>> {
        self.shared.lock().ended.clone()
    }

    /// Waits until the service is healthy, for `timeout` at most.
    ///
    /// # Errors
    /// [`SandboxError::Unhealthy`] with the last reason, also when the service ended meanwhile.
    pub fn wait_healthy(&self, timeout: Duration) -> Result<(), SandboxError> {
        let begun = Instant::now();
        let state = self
            .shared
            .wait(Some(timeout), |state| state.healthy || state.unhealthy.is_some() || state.ended.is_some());
        let reason = match &*state {
            State { healthy: true, ended: None, .. } => return Ok(()),
            State { ended: Some(Ok(exit)), .. } => format!("it ended with {exit}"),
            State { ended: Some(Err(error)), .. } => error.to_string(),
            State { unhealthy: Some(reason), .. } | State { last_reason: Some(reason), .. } => reason.clone(),
            _ => "it did not say why".to_owned(),
        };
        Err(SandboxError::Unhealthy { seconds: begun.elapsed().as_secs(), reason })
    }

    /// Asks the service to end by the image's stop signal (`SIGTERM` when empty or unknown), kills it after
    /// `grace`, and returns how it ended.
    ///
    /// # Errors
    /// When the sandbox failed, not when the service did.
    pub fn stop(mut self, signal: &str, grace: Duration) -> Result<Exit, SandboxError> {
        let _ = self.orders.send(&Order::Signal(signal_number(signal).unwrap_or(15)));
        drop(self.shared.wait(Some(grace), |state| state.ended.is_some()));
        self.kill();
        self.ended().expect("the listener has ended, and that is the last thing it notes")
    }

    fn wait_running(&self) -> Result<(), SandboxError> {
        let state = self.shared.wait(None, |state| state.running || state.ended.is_some());
        match &state.ended {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn network(&self) -> Result<OwnedFd, SandboxError> {
        let failed = |error| SandboxError::setup("join the network of another service", error);
        match &self.shared.lock().network {
            Some(network) => network.try_clone().map_err(failed),
            None => Err(failed(std::io::Error::other("it runs on the machine's own"))),
        }
    }

    fn kill(&mut self) {
        let _ = self.orders.send(&Order::Kill);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Drop for RunningService {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn note(&self, report: &Report, files: Vec<OwnedFd>) {
        self.change(|state| match report {
            Report::Network => state.network = files.into_iter().next(),
            Report::Started => state.running = true,
            Report::Healthy => state.healthy = true,
            Report::Unhealthy(reason) => state.unhealthy = Some(reason.clone()),
            Report::NotHealthyYet(reason) => state.last_reason = Some(reason.clone()),
            _ => {}
        });
    }

    fn wait(&self, timeout: Option<Duration>, until: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        while !until(&state) {
            let Some(deadline) = deadline else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

/// Reads a signal as an image's config spells it: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
pub fn signal_number(text: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    /// As the C library counts, which keeps two of the kernel's for itself.
    const FIRST_REAL_TIME: i32 = 34;
    const LAST: i32 = 64;
    let upper = text.trim().to_ascii_uppercase();
    if let Ok(number) = upper.parse() {
        return (1..=LAST).contains(&number).then_some(number);
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(index + 1).ok();
    }
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.get(1..)?.parse::<i32>().ok() };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => {
            FIRST_REAL_TIME.checked_add(offset(rest)?)?
        }
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => LAST.checked_sub(offset(rest)?)?,
        _ => return None,
    };
    (FIRST_REAL_TIME..=LAST).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<i32>) {
        assert_eq!(signal_number(text), expected, "{text:?}");
    }

    #[test]
    fn signals_as_images_spell_them() {
        check("SIGTERM", Some(15));
        check("term", Some(15));
        check("SIGQUIT", Some(3));
        check("SIGWINCH", Some(28));
        check("9", Some(9));
        check("SIGRTMIN+3", Some(37));
        check("RTMIN", Some(34));
        check("SIGRTMAX-1", Some(63));
        check("SIGRTMIN+31", None);
        check("SIGRTMIN-1", None);
        check("SIGRTMIN+99999999999", None);
        check("0", None);
        check("65", None);
        check("", None);
        check("SIGNAL", None);
    }
}
