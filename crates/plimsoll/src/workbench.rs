//! What building and testing needs besides a session: the engine, the sandbox, the tools of stages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use builder::sandbox::{Mode, Sandbox, Wanted, probe_once};
use builder::{EmbeddedEngine, Fetcher, GitFetcher, Secret, Workspace};
use containerd::{ConnectError, Containerd, Namespace};
use layer::Settings;
use oci::Registry;
use pipeline::place::{FoundContainerd, Places};
use pipeline::progress::{Observer, Progress};
use pipeline::repositories;
use pipeline::tools::Tools;
use registry::server::{Server, ServerHandle, ServerOptions};
use store::{Foreign, LayoutStore, StoreLock};

use crate::cli::ProgressStyle;
use crate::env::Environment;
use crate::error::Error;
use crate::project::{OUTPUT_FOLDER, ledger_path};
use crate::session::Session;
use crate::ui::progress::Reporter;
use crate::ui::timings::Timeline;

/// The program that sandboxes start again: this one, whatever has become of its file.
const SELF: &str = "/proc/self/exe";

/// The engine, the places and the printer of one command.
pub struct Workbench {
    engine: EmbeddedEngine,
    places: Places,
    reporter: Reporter,
    timeline: Timeline,
    project: PathBuf,
    ledger: PathBuf,
    session_variables: BTreeMap<String, String>,
    /// Content that has no name yet is not cleared away while this is held.
    _lock: StoreLock,
}

impl Workbench {
    /// Opens store and engine below the session's folder for state.
    pub fn open(session: &Session) -> Result<Self, Error> {
        Self::open_with(session, None)
    }

    /// Does the same, with the compression for layers that are made.
    pub fn open_with(session: &Session, compression: Option<Settings>) -> Result<Self, Error> {
        let places = session.places()?;
        let lock = places.local().lock_shared()?;
        let workspace = workspace(session, places.local())?;
        let workspace = match compression {
            Some(compression) => workspace.with_compression(compression),
            None => workspace,
        };
        Ok(Self {
            engine: EmbeddedEngine::new(workspace),
            places,
            reporter: Reporter::new(&session.ui),
            timeline: Timeline::new(),
            project: session.environment.folder.clone(),
            ledger: ledger_path(session),
            session_variables: session.environment.variables.clone(),
            _lock: lock,
        })
    }

    /// Returns the engine.
    pub fn engine(&self) -> &EmbeddedEngine {
        &self.engine
    }

    /// Returns what opens names.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Shows what happens.
    pub fn tell(&self, progress: Progress) {
        self.timeline.tell(&progress);
        self.reporter.tell(progress);
    }

    /// Ends the progress: what is printed now are results.
    pub fn end(&self) {
        self.reporter.end();
    }

    /// Says at the end where the time went, and writes it to `file` where one was asked for.
    pub fn tell_timings(&self, session: &Session, file: Option<&Path>) -> Result<(), Error> {
        if let Some(summary) = self.timeline.summary() {
            session.ui.note(summary);
        }
        let Some(file) = file else { return Ok(()) };
        let path = session.environment.folder.join(file);
        let trace = self.timeline.trace().to_string();
        std::fs::write(&path, trace).map_err(|source| Error::file("write", &path, source))
    }

    /// Returns what stages act with; `served` is where names under `local/` are served.
    pub fn tools<'a>(&'a self, served: Option<Registry>, observer: Observer<'a>) -> Tools<'a> {
        Tools {
            store: self.places.local().clone(),
            places: &self.places,
            engine: &self.engine,
            embedded: &self.engine,
            project: self.project.clone(),
            output: self.project.join(OUTPUT_FOLDER),
            ledger: self.ledger.clone(),
            environment: self.session_variables.clone(),
            embedded_registry: served,
            foreign: Foreign::LeftOut,
            observer,
        }
    }
}

/// Returns what fetches files for ADD, by the same connections and settings as registries.
pub fn fetcher(session: &Session) -> Result<Fetcher, Error> {
    let places = session.places()?;
    Ok(Fetcher::new(move |url, output| Ok(places.download(url, output)?)))
}

/// Returns what fetches git repositories, with the secrets of the build for those that ask who one is.
pub fn git_fetcher(session: &Session, secrets: &BTreeMap<String, Secret>) -> GitFetcher {
    repositories::fetcher(repositories::Settings {
        environment: session.environment.variables.clone(),
        offline: session.global.offline,
        secrets: secrets.clone(),
    })
}

/// Opens the engine's part of the session's folder for state.
pub fn workspace(session: &Session, store: &LayoutStore) -> Result<Workspace, Error> {
    let root = session.root()?.join("build");
    let trees = root.clone();
    let (wanted, ui) = (wanted_sandbox(session)?, session.ui.clone());
    let is_plain = session.global.progress == ProgressStyle::Plain || session.global.verbose > 0;
    let emulators = emulator_folders(&session.environment);
    let make = move || {
        let found = probe_once(Path::new(SELF), &trees, &trees.join("sandbox"), wanted)?;
        // What most people have is worth no line of theirs.
        if is_plain || found.mode != Mode::Root {
            ui.note(format!("steps run in {} ({})", found.mode.name(), found.reason));
        }
        Ok(Sandbox::new(PathBuf::from(SELF), found.mode)?.with_emulators(emulators.clone()))
    };
    Ok(Workspace::open(&root, store.clone(), Box::new(make))?)
}

/// Returns the kind of sandbox that is asked for: by the flag, else by `$PLIMSOLL_SANDBOX`.
pub fn wanted_sandbox(session: &Session) -> Result<Wanted, Error> {
    const NAME: &str = "PLIMSOLL_SANDBOX";
    match (session.global.sandbox, session.environment.variable(NAME)) {
        (Some(wanted), _) => Ok(wanted),
        (None, None) => Ok(Wanted::Auto),
        (None, Some(text)) => {
            text.parse().map_err(|reason| Error::usage(format!("{NAME} is {text:?}: {reason}")))
        }
    }
}

/// Returns where emulators of other processors are looked for: the folders of `$PLIMSOLL_EMULATORS`, of `$PATH`,
/// and where distributions put them.
fn emulator_folders(environment: &Environment) -> Vec<PathBuf> {
    let named = ["PLIMSOLL_EMULATORS", "PATH"].into_iter().filter_map(|name| environment.variable(name));
    let named = named.flat_map(|list| list.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from));
    named.chain(["/usr/bin".into(), "/usr/local/bin".into()]).collect()
}

/// The registry that serves names under `local/` while a command runs.
pub struct Served {
    /// Where.
    pub registry: Registry,
    server: ServerHandle,
}

impl Served {
    /// Starts it on a free port of the loopback address.
    pub fn start(session: &Session) -> Result<Self, Error> {
        let listen = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(ServerOptions::new(listen, session.store()?))?;
        let registry = server.address().to_string().parse().expect("an address with a port is a registry");
        Ok(Self { registry, server })
    }

    /// Stops it when the requests under way are answered.
    pub fn stop(self) {
        self.server.stop();
        self.server.join();
    }
}

/// Where containerd's socket is where nobody says: as its packages have it, and as k3s and RKE2 do.
const CONTAINERD_SOCKETS: [&str; 2] = ["/run/containerd/containerd.sock", KUBERNETES_SOCKET];
/// Over this one nothing outside the kubelet's namespace is looked at.
const KUBERNETES_SOCKET: &str = "/run/k3s/containerd/containerd.sock";

/// Finds containerd: at `CONTAINERD_ADDRESS`, else at a usual place; in the namespace `CONTAINERD_NAMESPACE`, else in
/// the one of that place. Both variables are those of `ctr` and `nerdctl`.
///
/// # Errors
/// What is set cannot be meant, nobody is there, or it may not be asked.
pub fn containerd_of(environment: &Environment) -> Result<FoundContainerd, ConnectError> {
    let named = environment.variable("CONTAINERD_ADDRESS").map(containerd::socket_of).transpose()?;
    let sockets = match named {
        Some(socket) => vec![socket],
        None => CONTAINERD_SOCKETS.map(PathBuf::from).to_vec(),
    };
    let wanted = environment.variable("CONTAINERD_NAMESPACE").map(str::parse::<Namespace>).transpose()?;
    let containerd = Containerd::connect(&sockets)?;
    let usual = match containerd.socket() == Path::new(KUBERNETES_SOCKET) {
        true => Namespace::kubernetes(),
        false => Namespace::usual(),
    };
    let namespace = wanted.unwrap_or(usual);
    Ok(FoundContainerd { containerd, namespace, now: environment.now })
}

/// Makes a folder and everything above it.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| Error::file("make the folder", path, source))
}
