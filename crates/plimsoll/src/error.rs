//! What can go wrong, seen from the command line: who is to blame, what to try, and the exit code.
//! The rooms below say what happened; only this module decides what it means to whoever called.

use std::io;
use std::path::{Path, PathBuf};

use builder::BuildError;
use builder::sandbox::SandboxError;
use containerd::ConnectError;
use layer::LayerError;
use pipeline::archive::ArchiveError;
use pipeline::bake::BakeError;
use pipeline::build::ServiceError;
use pipeline::configuration::ConfigurationError;
use pipeline::copy::CopyError;
use pipeline::copy::repository::RepositoryError;
use pipeline::daemon::DaemonError;
use pipeline::forge::ForgeError;
use pipeline::git::GitError;
use pipeline::handover::HandoverError;
use pipeline::identity::docker::MetadataError;
use pipeline::image::ImageError;
use pipeline::import::ImportError;
use pipeline::ledger::LedgerError;
use pipeline::place::PlaceError;
use pipeline::plan::PlanError;
use pipeline::removal::RemovalError;
use record::RecordError;
use registry::client::{ClientError, CredentialError};
use registry::server::ServerError;
use store::StoreError;

const HINT_OFFLINE: &str = "leave out --offline";
const HINT_REMOVAL: &str = "switch removal on at the registry (distribution: REGISTRY_STORAGE_DELETE_ENABLED=true); \
    hosted ones such as Docker Hub and GHCR remove images on their own pages and APIs only";

/// Exit codes; a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Everything asked for is done.
    Done = 0,
    /// The thing asked for failed: a build step, a suite, an image that is not there.
    Failed = 1,
    /// The command line, the configuration or an input file is wrong.
    Usage = 2,
    /// Another image than the expected one: digest mismatch, stale revision.
    WrongImage = 4,
    /// A remote failed after its retries.
    Remote = 5,
    /// Credentials or permissions do not allow it.
    NotAllowed = 6,
    /// Some of it is done.
    Partly = 7,
    /// A check found something to do.
    Found = 8,
    /// A defect of ours.
    Defect = 70,
    /// SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line says something that cannot be done.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to write instead.
        hint: Option<String>,
    },
    /// A file or folder that was named on the command line.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read`, `write`, `enter`, ...
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `plimsoll.toml` or `--set`.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The clone of the project.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The CI host.
    #[error(transparent)]
    Forge(ForgeError),
    /// A workflow that is to be taken over.
    #[error("{} cannot be taken over", file.display())]
    Workflow {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: forge::github::workflow::WorkflowError,
    },
    /// The configuration makes no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Images at rest, here or in a registry.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A place for an image.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// What lies at a place.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An image on its way.
    #[error(transparent)]
    Copy(CopyError),
    /// All images of a repository on their way.
    #[error(transparent)]
    Repository(RepositoryError),
    /// An image that is to be removed.
    #[error(transparent)]
    Removal(RemovalError),
    /// An archive of images.
    #[error(transparent)]
    Archive(ArchiveError),
    /// A root file system that is to become an image.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Credentials for registries.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The client of registries cannot work as it is set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The registry server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Nobody reads our output any more; not worth a message.
    #[error("standard output is closed")]
    OutputClosed,
    /// The record of runs.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The container daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// A document that jobs exchange.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Images between jobs.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// A bake or compose file.
    #[error(transparent)]
    Bake(#[from] BakeError),
    /// A build, or an image that is to be run in.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A sandbox that cannot be made.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Inputs of docker/metadata-action that give no tags.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// What went wrong has been told already.
    #[error("told already")]
    Reported(Code),
    /// A signal ended the command in good order.
    #[error("stopped")]
    Stopped(Code),
}

impl From<CopyError> for Error {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Place(error) => Self::Place(error),
            CopyError::Image(error) => Self::Image(error),
            CopyError::Daemon(error) => Self::Daemon(error),
            other @ CopyError::OtherDigest { .. } => Self::Copy(other),
        }
    }
}

impl From<RepositoryError> for Error {
    fn from(error: RepositoryError) -> Self {
        match error {
            RepositoryError::Place(error) => Self::Place(error),
            other => Self::Repository(other),
        }
    }
}

impl From<RemovalError> for Error {
    fn from(error: RemovalError) -> Self {
        match error {
            RemovalError::Place(error) => Self::Place(error),
            other => Self::Removal(other),
        }
    }
}

impl From<ForgeError> for Error {
    fn from(error: ForgeError) -> Self {
        match error {
            ForgeError::Git(error) => Self::Git(error),
            other => Self::Forge(other),
        }
    }
}

impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Store(error) => Self::Store(error),
            ArchiveError::Place(error) => Self::Place(error),
            ArchiveError::Image(error) => Self::Image(error),
            other => Self::Archive(other),
        }
    }
}

impl Error {
    /// Returns a usage error without a hint.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// Returns the error of a file named on the command line.
    pub fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }

    /// Returns the exit code.
    pub fn code(&self) -> Code {
        match self {
            Self::Usage { .. } => Code::Usage,
            Self::File { source, .. } | Self::Import(ImportError::Read { source, .. }) => {
                code_of_file(source)
            }
            Self::Configuration(ConfigurationError::Unreadable { source, .. }) => code_of_file(source),
            Self::Configuration(_) | Self::Plan(_) | Self::Metadata(_) => Code::Usage,
            Self::Workflow { .. } | Self::Forge(ForgeError::Replay { .. }) => Code::Usage,
            Self::Forge(ForgeError::File { source, variable: "--event", .. }) => code_of_file(source),
            Self::Forge(_) => Code::Failed,
            Self::Git(GitError::Unreadable { .. }) => Code::Failed,
            Self::Git(_) => Code::Usage,
            Self::Import(ImportError::Layer { source, .. }) => code_of_layer(source),
            Self::Import(ImportError::Empty { .. } | ImportError::Archive { .. }) => Code::Failed,
            Self::Archive(_) | Self::Bake(_) => Code::Usage,
            Self::Store(error)
            | Self::Import(ImportError::Store(error))
            | Self::Place(PlaceError::Store(error))
            | Self::Image(ImageError::Store(error)) => code_of_store(error),
            Self::Place(
                PlaceError::Unsupported { .. } | PlaceError::Offline { .. } | PlaceError::Several { .. },
            ) => Code::Usage,
            Self::Place(PlaceError::Client(_)) | Self::Client(_) => Code::Usage,
            Self::Copy(_) => Code::WrongImage,
            Self::Repository(RepositoryError::Nothing { .. }) => Code::Failed,
            Self::Repository(_) => Code::Usage,
            Self::Removal(RemovalError::Refused { .. }) => Code::NotAllowed,
            Self::Removal(_) => Code::Usage,
            Self::Place(PlaceError::Daemon(error)) => code_of(&**error),
            Self::Place(PlaceError::Containerd(error)) => code_of_containerd(error),
            Self::Credential(error) | Self::Place(PlaceError::Credential(error)) => match error {
                CredentialError::Invalid { .. } => Code::Usage,
                CredentialError::File { .. } | CredentialError::Helper { .. } => Code::NotAllowed,
            },
            Self::Image(_) => Code::Failed,
            Self::Server(ServerError::Listen { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Code::NotAllowed
            }
            Self::Server(_) => Code::Failed,
            Self::Record(_) => Code::Failed,
            Self::Daemon(error) => code_of(error),
            Self::Ledger(LedgerError::Read { source, .. }) => code_of_file(source),
            Self::Ledger(LedgerError::Write { .. }) => Code::Failed,
            Self::Ledger(_) => Code::Usage,
            Self::Handover(error) => code_of(error),
            Self::Build(error) => code_of(error),
            Self::Sandbox(error) => code_of(error),
            Self::OutputClosed => Code::Done,
            Self::Reported(code) => *code,
            Self::Stopped(code) => *code,
        }
    }

    /// Returns what to try, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } => hint.clone(),
            Self::Removal(RemovalError::Refused { .. }) => Some(HINT_REMOVAL.to_owned()),
            Self::Import(ImportError::Layer { source: LayerError::Stream { source, .. }, .. }) => {
                hint_of_io(source)
            }
            Self::Store(error)
            | Self::Import(ImportError::Store(error))
            | Self::Place(PlaceError::Store(error))
            | Self::Image(ImageError::Store(error)) => hint_of_store(error),
            Self::Archive(ArchiveError::Nameless { .. }) => {
                Some("give it one with --tag NAME:TAG".to_owned())
            }
            Self::Archive(ArchiveError::Several { .. }) => {
                Some("leave out --tag, or take one image with copy docker-archive:FILE:REF".to_owned())
            }
            Self::Server(ServerError::Listen { .. }) => {
                Some("choose another address with --listen; port 0 takes a free one".to_owned())
            }
            Self::Place(PlaceError::Containerd(error)) => Some(hint_of_containerd(error).to_owned()),
            Self::Place(PlaceError::Daemon(error)) => hint_of_daemon(error),
            Self::Daemon(error) => hint_of_daemon(error),
            Self::Place(PlaceError::Several { .. }) => Some("add :NAME:TAG of one of them".to_owned()),
            Self::Place(PlaceError::Offline { .. }) => Some(HINT_OFFLINE.to_owned()),
            Self::Image(ImageError::Platform { .. }) => Some("choose one of them with --platform".to_owned()),
            _ => None,
        }
    }

    /// Whether there is something to tell; a closed pipe and a signal speak for themselves.
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::OutputClosed | Self::Stopped(_) | Self::Reported(_))
    }
}

/// Returns the exit code of an error of a stage: that of the first of its causes which decides one.
pub fn code_of(error: &(dyn std::error::Error + 'static)) -> Code {
    let causes = std::iter::successors(Some(error), |cause| cause.source());
    causes.filter_map(code_of_cause).next().unwrap_or(Code::Failed)
}

/// Returns what to try about an error of a stage: what the first of its causes knows that knows something.
pub fn hint_of(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let causes = std::iter::successors(Some(error), |cause| cause.source());
    causes.filter_map(hint_of_cause).next()
}

fn hint_of_cause(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<DaemonError>() {
        return hint_of_daemon(error);
    }
    if let Some(PlaceError::Offline { .. }) = error.downcast_ref::<PlaceError>() {
        return Some(HINT_OFFLINE.to_owned());
    }
    // A file that may not be read can be anybody's; only a full disk is always the store's.
    let is_full = |error: &&io::Error| error.kind() == io::ErrorKind::StorageFull;
    error.downcast_ref::<io::Error>().filter(is_full).and_then(hint_of_io)
}

fn hint_of_daemon(error: &DaemonError) -> Option<String> {
    let hint = match error {
        DaemonError::Denied { .. } => {
            "be in the group that the socket belongs to, often `docker`, or name another one with DOCKER_HOST"
        }
        DaemonError::Elsewhere { host, .. } if host.starts_with("ssh://") => {
            "bring its socket here with ssh -nNT -L ./docker.sock:/var/run/docker.sock HOST and set DOCKER_HOST=unix://$PWD/docker.sock"
        }
        DaemonError::Elsewhere { .. } => {
            "push to a registry that it pulls from, or hand it an archive: plimsoll save IMAGE -o image.tar && docker load -i image.tar"
        }
        DaemonError::NoContext { .. } => {
            "docker context ls shows them; unset DOCKER_CONTEXT, or docker context use default"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn code_of_cause(error: &(dyn std::error::Error + 'static)) -> Option<Code> {
    if let Some(error) = error.downcast_ref::<ServiceError>() {
        // These are transparent: what they hold is skipped in the chain of sources.
        return match error {
            ServiceError::Build(error) => Some(code_of(error)),
            ServiceError::Store(error) => Some(code_of_store(error)),
            ServiceError::Place(error) => Some(code_of(error)),
            ServiceError::Image(ImageError::Store(error)) => Some(code_of_store(error)),
            ServiceError::Image(_) | ServiceError::Needs(_) | ServiceError::Stopped => None,
        };
    }
    if let Some(error) = error.downcast_ref::<BuildError>() {
        return match error {
            BuildError::NoDockerfile { .. }
            | BuildError::Dockerfile(_)
            | BuildError::Unsupported { .. }
            | BuildError::Checks { .. }
            | BuildError::NoSuchTarget { .. } => Some(Code::Usage),
            BuildError::Step { .. } | BuildError::Instruction { .. } => Some(Code::Failed),
            BuildError::Store(error) => Some(code_of_store(error)),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<HandoverError>() {
        return match error {
            HandoverError::Stale { .. } | HandoverError::Incomplete { .. } => Some(Code::WrongImage),
            HandoverError::Store(error) => Some(code_of_store(error)),
            // Transparent: what it holds is skipped in the chain of sources.
            HandoverError::Place(error) => Some(code_of(error)),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<DaemonError>() {
        return match error {
            DaemonError::NotLoaded { .. } => Some(Code::WrongImage),
            DaemonError::Broken { .. } => Some(Code::Remote),
            DaemonError::Denied { .. } => Some(Code::NotAllowed),
            DaemonError::Elsewhere { .. } | DaemonError::NoContext { .. } => Some(Code::Usage),
            DaemonError::Store(error) => Some(code_of_store(error)),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<PlaceError>() {
        return match error {
            PlaceError::Store(error) => Some(code_of_store(error)),
            PlaceError::Daemon(error) => Some(code_of(&**error)),
            PlaceError::Containerd(error) => Some(code_of_containerd(error)),
            PlaceError::Credential(_) => Some(Code::NotAllowed),
            _ => Some(Code::Usage),
        };
    }
    error.downcast_ref::<StoreError>().map(code_of_store)
}

/// A socket that is not there is nobody's fault but the caller's machine: as for a container daemon.
fn code_of_containerd(error: &ConnectError) -> Code {
    match error {
        ConnectError::Address { .. } | ConnectError::Namespace(_) => Code::Usage,
        ConnectError::Denied { .. } => Code::NotAllowed,
        ConnectError::NoSocket { .. } | ConnectError::Unreachable { .. } | ConnectError::Other { .. } => {
            Code::Failed
        }
    }
}

fn code_of_file(error: &io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Code::Usage,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Code::NotAllowed,
        _ => Code::Failed,
    }
}

fn code_of_layer(error: &LayerError) -> Code {
    match error {
        LayerError::Stream { source, .. } | LayerError::File { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Code::NotAllowed
        }
        _ => Code::Failed,
    }
}

fn code_of_store(error: &StoreError) -> Code {
    match error {
        StoreError::NotFound { .. } | StoreError::Unsupported { .. } => Code::Failed,
        StoreError::Corrupt { .. } => Code::WrongImage,
        StoreError::Denied { .. } => Code::NotAllowed,
        StoreError::Unreachable { transient: true, .. } => Code::Remote,
        StoreError::Unreachable { source, .. } => match source.downcast_ref::<io::Error>() {
            Some(local) if local.kind() == io::ErrorKind::PermissionDenied => Code::NotAllowed,
            Some(_) => Code::Failed,
            None => Code::Remote,
        },
    }
}

fn hint_of_containerd(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Denied { .. } => "run as root, or as a user that may open the socket",
        ConnectError::Namespace(_) => "set CONTAINERD_NAMESPACE to a namespace such as default or k8s.io",
        _ => "set CONTAINERD_ADDRESS to the socket of a containerd that runs",
    }
}

fn hint_of_store(error: &StoreError) -> Option<String> {
    let StoreError::Unreachable { source, .. } = error else { return None };
    hint_of_io(source.downcast_ref::<io::Error>()?)
}

/// Returns what to try where the store's disk does not play along.
fn hint_of_io(error: &io::Error) -> Option<String> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space, or put the store elsewhere with --root DIR".to_owned())
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("name a folder that you may write to with --root DIR".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: impl Into<Error>, expected: Code) {
        assert_eq!(error.into().code(), expected);
    }

    fn unreachable(
        transient: bool,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Unreachable { action: "read", what: "x".into(), transient, source: source.into() }
    }

    #[test]
    fn codes_tell_local_from_remote_and_ours_from_theirs() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        check(StoreError::NotFound { what: "x".into() }, Code::Failed);
        check(StoreError::Corrupt { what: "x".into(), reason: "y".into() }, Code::WrongImage);
        check(StoreError::Denied { what: "x".into(), reason: "y".into() }, Code::NotAllowed);
        check(unreachable(true, "503"), Code::Remote);
        check(unreachable(false, "400"), Code::Remote);
        check(unreachable(false, full()), Code::Failed);
        check(unreachable(false, io::Error::from(io::ErrorKind::PermissionDenied)), Code::NotAllowed);
        check(Error::file("read", Path::new("x"), io::ErrorKind::NotFound.into()), Code::Usage);
        let service = ServiceError::from(BuildError::NoDockerfile { path: "x".into() });
        assert_eq!(code_of(&service), Code::Usage);
        let service = ServiceError::from(BuildError::from(StoreError::Corrupt {
            what: "x".into(),
            reason: "y".into(),
        }));
        assert_eq!(code_of(&service), Code::WrongImage);
        assert!(Error::from(unreachable(false, full())).hint().unwrap().contains("--root"));
    }
}
