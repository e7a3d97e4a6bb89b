//! A container daemon (Docker, Podman) as a place: loading an image under a name, looking whether it
//! is really there, and taking one out.
//!
//! The daemon is sent only the layers that it lacks, where it can be asked what it has; where it
//! does not take such an archive it is sent the whole one, which is written while it is sent. What takes longest of a
//! large image is Go's decompressor, so large layers are unpacked here:
//!
//! | the daemon | how |
//! |---|---|
//! | Docker, its own stores | `stream`: an archive of plain layers, the lowest of them on a way without a copy |
//! | Docker, containerd's store | `aside`: the archive as it is, while it unpacks plain twins of the layers |
//! | either, and the image is in a registry | `pull`: it comes through here |
//! | Podman and others | the archive as it is |
//!
//! Its word is not enough: it answers success for images that it could not unpack. After loading, every name is
//! inspected and must be the image that was sent.
//!
//! Source: Docker Engine API v1.41, "Ping", "Import images", "Inspect an image", "Tag an image",
//! "Export an image".

mod aside;
mod exchange;
mod inventory;
mod plain;
mod pull;
mod stream;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci::{Descriptor, DiffId, Digest, Document, Pinned, Platform, Reference, Repository};
use serde::de::DeserializeOwned;
use store::{
    ArchiveFormat, ArchiveImage, ArchiveOptions, ArchiveStore, ImageStore, StoreError, image_for_platform,
    write_archive,
};

use crate::archive::ArchiveFault;
use crate::configuration::Name;
use crate::handover::local_name;
use crate::image::{Image, ImageError};
use exchange::{Answer, Request, Upload};
use inventory::{Info, Inspected, Keeping, Listed, MAX_IMAGES, Stacks, spared};
use plain::LARGE_BYTES;

const PING_TIMEOUT: Duration = Duration::from_secs(5);
const QUESTION_TIMEOUT: Duration = Duration::from_secs(60);
const LOAD_TIMEOUT: Duration = Duration::from_secs(600);
const LOAD: &str = "POST /images/load?quiet=1";

/// A daemon that answers.
#[derive(Clone, Debug)]
pub struct Daemon {
    socket: PathBuf,
    scratch: PathBuf,
    is_podman: bool,
}

/// What it took to bring an image into a daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Size of the archives that were sent, in bytes; 0 where the daemon had the image.
    pub bytes_sent: u64,
    /// Layers that were left out because the daemon has them.
    pub layers_spared: usize,
}

/// Why a daemon could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Nobody answers at the socket.
    #[error("no container daemon answers at {}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// This user may not use the socket.
    #[error("this user may not use the container daemon at {}", socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
    },
    /// The daemon that is meant has no socket on this machine.
    #[error(
        "{named} names the container daemon at {host}, and only one with a socket of this machine can be used"
    )]
    Elsewhere {
        /// What names it.
        named: String,
        /// Where it is.
        host: String,
    },
    /// A context of Docker's that does not exist.
    #[error("Docker has no context {name}")]
    NoContext {
        /// Its name.
        name: String,
    },
    /// It answered before, and went away in the middle of something.
    #[error("the container daemon at {} broke off at {request}", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// What was asked.
        request: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// No socket is known.
    #[error("no container daemon is reachable: start Docker or Podman, or set DOCKER_HOST")]
    None,
    /// The daemon refused.
    #[error("the container daemon at {} answered {status} to {request}: {message}", socket.display())]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// What was asked.
        request: String,
        /// The status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// It took the archive and has not the image.
    #[error("the container daemon took {name} and has {found} instead of {}", expected.join(" or "))]
    NotLoaded {
        /// The name.
        name: String,
        /// What it has under the name.
        found: String,
        /// The ids that would have been right.
        expected: Vec<String>,
    },
    /// A name that no daemon takes.
    #[error("a container daemon knows images by NAME:TAG, and {name} is none")]
    Nameless {
        /// The name.
        name: String,
    },
    /// The archive to be sent cannot be made.
    #[error(transparent)]
    Archive(#[from] ArchiveFault),
    /// There is no image to run in what is to be loaded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns where an environment says that its daemon is: the socket of `DOCKER_HOST`.
///
/// # Errors
/// The whole text, where it is no socket of this machine.
pub fn socket_of(docker_host: &str) -> Result<PathBuf, String> {
    docker_host.strip_prefix("unix://").map(PathBuf::from).ok_or_else(|| docker_host.to_owned())
}

impl Daemon {
    /// Returns the daemon at `socket`, where one answers. Archives on their way are kept in `scratch`.
    ///
    /// # Errors
    /// `Unreachable` where nobody answers, `Denied` where this user may not ask, `Refused` where it is no daemon.
    pub fn connect(socket: &Path, scratch: &Path) -> Result<Self, DaemonError> {
        let daemon = Self { socket: socket.to_owned(), scratch: scratch.to_owned(), is_podman: false };
        let request = Request { line: "GET /_ping", patience: PING_TIMEOUT };
        let answer = exchange::ask(socket, &request).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => DaemonError::Denied { socket: socket.to_owned() },
            _ => DaemonError::Unreachable { socket: socket.to_owned(), source },
        })?;
        let answer = daemon.expect_success(request.line, answer)?;
        Ok(Self { is_podman: answer.is_podman, ..daemon })
    }

    /// Loads the image of a service as `SERVICE:local` and makes sure that it is there.
    ///
    /// # Errors
    /// As for [`Daemon::load`].
    pub fn load_service(
        &self,
        service: &Name,
        image: &Pinned,
        source: &dyn ImageStore,
    ) -> Result<Loaded, DaemonError> {
        let name = local_name(service).map_err(|error| archive_failed(image, error))?;
        let document = source.document(&image.digest())?;
        self.load(&[name], source, &document, None)
    }

    /// Loads the image of `platform` that `document` is or leads to, by default that of this machine,
    /// under each of `names`, and makes sure that it is there. A layer that the daemon has is not sent.
    ///
    /// # Errors
    /// `NotLoaded` where the daemon says yes and has something else.
    pub fn load(
        &self,
        names: &[Reference],
        source: &dyn ImageStore,
        document: &Document,
        platform: Option<&Platform>,
    ) -> Result<Loaded, DaemonError> {
        let names = names.iter().map(familiar).collect::<Result<Vec<_>, _>>()?;
        let host = Platform::host();
        let manifest = image_for_platform(source, document.descriptor(), platform.unwrap_or(&host))?;
        let image = Image::open(source, &manifest, None)?;
        let expected = [manifest.digest(), image.manifest().config.digest];
        for id in expected {
            if self.inspect(&id.to_string())?.is_some_and(|found| found.is_whole()) {
                names.iter().try_for_each(|(name, _)| self.tag(&id, name))?;
                names.iter().try_for_each(|(name, _)| self.check(name, &expected))?;
                return Ok(Loaded { bytes_sent: 0, layers_spared: image.manifest().layers.len() });
            }
        }
        let omit = spared(image.manifest(), &image.config.rootfs.diff_ids, &self.stacks()?);
        let layers_spared = omit.len();
        let parcel = Parcel { source, manifest: &manifest, names: &names };
        let checked = |sent: u64| {
            names.iter().try_for_each(|(name, _)| self.check(name, &expected))?;
            Ok(sent)
        };
        let quickly = self.load_quickly(&parcel, &image.config.rootfs.diff_ids, &omit, platform);
        match quickly.and_then(|sent| sent.map(checked).transpose()) {
            Ok(Some(bytes_sent)) => return Ok(Loaded { bytes_sent, layers_spared }),
            Ok(None) => {}
            // It would say so again.
            Err(error) if error.is_disk_full() => return Err(error),
            Err(error) => tracing::debug!(%error, "the daemon takes no shorter way"),
        }
        match self.send(&parcel, omit).and_then(checked) {
            Ok(bytes_sent) => Ok(Loaded { bytes_sent, layers_spared }),
            // It may have lost the layers meanwhile, or not take an archive without them.
            Err(DaemonError::Refused { .. } | DaemonError::NotLoaded { .. }) if layers_spared > 0 => {
                let bytes_sent = self.send(&parcel, BTreeSet::new()).and_then(checked)?;
                Ok(Loaded { bytes_sent, layers_spared: 0 })
            }
            Err(error) => Err(error),
        }
    }

    /// Loads an image with large layers in the way that takes this daemon least; returns how many bytes that took,
    /// or `None` where no way is better than the archive of what it lacks.
    fn load_quickly(
        &self,
        parcel: &Parcel<'_>,
        diff_ids: &[DiffId],
        omit: &BTreeSet<Digest>,
        platform: Option<&Platform>,
    ) -> Result<Option<u64>, DaemonError> {
        let lacking = || parcel.layers().filter(|layer| !omit.contains(&layer.digest));
        if self.is_podman || lacking().all(|layer| layer.size < LARGE_BYTES) {
            return Ok(None);
        }
        let keeping = self.answer::<Info>("GET /info").map_or(Keeping::Unknown, |info| info.keeping());
        if keeping == Keeping::Unknown || (keeping == Keeping::Manifests && !omit.is_empty()) {
            return Ok(None);
        }
        match plain::layers(parcel, diff_ids)? {
            Some(layers) if keeping == Keeping::Configurations => {
                self.stream(parcel, &layers, omit).map(Some)
            }
            Some(layers) => self.load_aside(parcel, &layers, platform).map(Some),
            None if omit.is_empty() => self.pull(parcel, diff_ids, keeping, platform),
            None => Ok(None),
        }
    }

    /// Takes an image out of the daemon, as an archive that is gone with the value that is returned.
    ///
    /// # Errors
    /// `Store` with `NotFound` where the daemon has no such image.
    pub fn export(&self, name: &Reference) -> Result<ArchiveStore, DaemonError> {
        let (name, _) = familiar(name)?;
        match self.inspect(&name)? {
            Some(_) => self.fetch(&name),
            None => Err(self.not_there(&name)),
        }
    }

    /// Takes all images of a repository out of the daemon, as [`Self::export`] does one.
    ///
    /// # Errors
    /// As for [`Self::export`].
    pub fn export_all(&self, name: &Repository) -> Result<ArchiveStore, DaemonError> {
        self.fetch(&name.familiar())
    }

    fn fetch(&self, name: &str) -> Result<ArchiveStore, DaemonError> {
        let failed = |error: io::Error| archive_failed(name, error);
        let mut file = tempfile::NamedTempFile::new_in(&self.scratch).map_err(failed)?;
        let line = format!("GET /images/{name}/get");
        let request = Request { line: &line, patience: LOAD_TIMEOUT };
        let answer = exchange::fetch(&self.socket, &request, file.as_file_mut());
        let answer = answer.map_err(|source| self.broken(&line, source))?;
        if answer.status == 404 {
            return Err(self.not_there(name));
        }
        self.expect_success(&line, answer)?;
        // The store keeps the file open: it needs no name any more.
        Ok(ArchiveStore::open(file.path(), &self.scratch)?)
    }

    fn not_there(&self, name: &str) -> DaemonError {
        let what = format!("{name} in the container daemon at {}", self.socket.display());
        StoreError::NotFound { what }.into()
    }

    /// Sends the archive without the blobs in `omit`; returns its size in bytes.
    fn send(&self, parcel: &Parcel<'_>, omit: BTreeSet<Digest>) -> Result<u64, DaemonError> {
        self.upload(LOAD, |upload| parcel.write(omit, upload)).map(|(_, sent)| sent)
    }

    /// Makes a request whose body `write` writes; returns the answer and the body's size in bytes.
    fn upload(
        &self,
        line: &str,
        write: impl FnOnce(&mut Upload) -> Result<(), DaemonError>,
    ) -> Result<(Answer, u64), DaemonError> {
        let broken = |source| self.broken(line, source);
        let request = Request { line, patience: LOAD_TIMEOUT };
        let mut upload = Upload::begin(&self.socket, &request).map_err(broken)?;
        let written = write(&mut upload);
        // Of a body that the daemon did not want to its end its answer says more.
        if !upload.is_refused() {
            written?;
        }
        let sent = upload.sent();
        let answer = upload.finish().map_err(broken)?;
        Ok((self.expect_success(line, answer)?, sent))
    }

    /// Returns the layers of the daemon's images. One that goes while it is asked for has none.
    fn stacks(&self) -> Result<Stacks, DaemonError> {
        let listed: Vec<Listed> = self.answer("GET /images/json")?;
        let mut stacks = Stacks::new();
        for image in listed.iter().take(MAX_IMAGES) {
            let found = self.inspect(&image.id)?;
            stacks.extend(found.and_then(|found| found.root_fs.layers));
        }
        Ok(stacks)
    }

    /// Compares what the daemon has under a name: its id is the configuration's digest in Docker's
    /// classic stores and the manifest's in containerd's.
    fn check(&self, name: &str, expected: &[Digest]) -> Result<(), DaemonError> {
        let found = self.inspect(name)?;
        // Podman leaves the algorithm out.
        let is_it = |id: &str| expected.iter().any(|digest| id == digest.to_string() || id == digest.hex());
        let found = match found {
            Some(found) if is_it(&found.id) && found.is_whole() => return Ok(()),
            Some(found) if is_it(&found.id) => format!("only a part of {}", found.id),
            Some(found) => found.id,
            None => "nothing".to_owned(),
        };
        let expected = expected.iter().map(ToString::to_string).collect();
        Err(DaemonError::NotLoaded { name: name.to_owned(), found, expected })
    }

    fn tag(&self, id: &Digest, name: &str) -> Result<(), DaemonError> {
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let request = format!("POST /images/{id}/tag?repo={repository}&tag={tag}");
        self.ask(&request, QUESTION_TIMEOUT).map(drop)
    }

    /// Returns what the daemon has under a name or an id; `None` where it has nothing.
    fn inspect(&self, name: &str) -> Result<Option<Inspected>, DaemonError> {
        let request = format!("GET /images/{name}/json?manifests=1");
        match self.answer(&request) {
            Ok(found) => Ok(Some(found)),
            Err(DaemonError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn answer<T: DeserializeOwned>(&self, request: &str) -> Result<T, DaemonError> {
        let answer = self.ask(request, QUESTION_TIMEOUT)?;
        serde_json::from_slice(&answer.body).map_err(|error| DaemonError::Refused {
            socket: self.socket.clone(),
            request: request.to_owned(),
            status: answer.status,
            message: format!("what is no JSON of an image: {error}"),
        })
    }

    fn ask(&self, line: &str, patience: Duration) -> Result<Answer, DaemonError> {
        let answer = exchange::ask(&self.socket, &Request { line, patience });
        self.expect_success(line, answer.map_err(|source| self.broken(line, source))?)
    }

    fn broken(&self, request: &str, source: io::Error) -> DaemonError {
        DaemonError::Broken { socket: self.socket.clone(), request: request.to_owned(), source }
    }

    fn expect_success(&self, request: &str, answer: Answer) -> Result<Answer, DaemonError> {
        if (200..300).contains(&answer.status) && !reports_error(&answer.body) {
            return Ok(answer);
        }
        Err(DaemonError::Refused {
            socket: self.socket.clone(),
            request: request.to_owned(),
            status: answer.status,
            message: String::from_utf8_lossy(&answer.body).trim().chars().take(2000).collect(),
        })
    }
}

/// What is sent.
struct Parcel<'a> {
    source: &'a dyn ImageStore,
    manifest: &'a Document,
    names: &'a [(String, Reference)],
}

impl Parcel<'_> {
    fn layers(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifest.as_image().into_iter().flat_map(|image| &image.layers)
    }

    /// Writes the archive of the image as it is, without the blobs in `omit`.
    fn write(&self, omit: BTreeSet<Digest>, upload: &mut Upload) -> Result<(), DaemonError> {
        let names = self.names.iter().map(|(_, name)| name.clone()).collect();
        let image =
            ArchiveImage { source: self.source, descriptor: self.manifest.descriptor().clone(), names };
        let options = ArchiveOptions { omit, ..ArchiveOptions::default() };
        write_archive(
            &[image],
            ArchiveFormat::DockerArchive,
            &options,
            store::archive::Output::Stream(upload),
        )
        .map(drop)
        .map_err(|error| archive_failed(self.manifest.digest(), error))
    }
}

impl DaemonError {
    /// Whether the daemon has no room for what it was sent.
    fn is_disk_full(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("no space left on device"))
    }
}

/// Returns a name as the daemon shows it, and in full.
fn familiar(name: &Reference) -> Result<(String, Reference), DaemonError> {
    let tag = name.tag_or_latest().filter(|_| name.digest().is_none());
    let tag = tag.ok_or_else(|| DaemonError::Nameless { name: name.to_string() })?;
    let repository = name.repository();
    Ok((format!("{}:{tag}", repository.familiar()), repository.clone().tagged(tag)))
}

fn archive_failed(
    image: impl std::fmt::Display,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> DaemonError {
    let what = format!("the archive of {image}");
    ArchiveFault { action: "make", what, source: source.into() }.into()
}

impl Inspected {
    /// Whether nothing of the image is missing, as far as the daemon tells.
    fn is_whole(&self) -> bool {
        let own = |parts: &Vec<inventory::Part>| {
            parts.iter().filter(|part| part.id == self.id).all(|part| part.available)
        };
        self.manifests.as_ref().is_none_or(own)
    }
}

/// Loading answers 200 before it is done; what goes wrong then stands in the stream of messages.
fn reports_error(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Message {
        error: Option<String>,
    }
    let messages = serde_json::Deserializer::from_slice(body).into_iter::<Message>();
    messages.map_while(Result::ok).any(|message| message.error.is_some())
}

#[cfg(test)]
mod tests;
