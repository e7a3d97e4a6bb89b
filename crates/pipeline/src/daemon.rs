//! A container daemon (Docker, Podman) as a place to test: loading an image under the name
//! `SERVICE:local`, and looking whether it is really there.
//!
//! The daemon's word is not enough: it answers success for images that it could not unpack. After
//! loading, the image is inspected and must be the one that was sent.
//!
//! Requests are HTTP/1.0 with a known length, so that answers end with the connection.
//!
//! Source: Docker Engine API v1.41, "Ping", "Import images", "Inspect an image".

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci::{Digest, Pinned, Platform};
use serde::Deserialize;
use store::{
    ArchiveFormat, ArchiveImage, ArchiveOptions, ImageStore, StoreError, image_for_platform, save_to_path,
};

use crate::configuration::Name;
use crate::handover::local_name;

/// Answers longer than this are not read to their end.
const MAX_ANSWER_BYTES: u64 = 16 << 20;
const MAX_HEADER_BYTES: u64 = 64 << 10;
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const LOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// A daemon that answers.
#[derive(Clone, Debug)]
pub struct Daemon {
    socket: PathBuf,
    scratch: PathBuf,
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
    /// The archive to be sent cannot be made.
    #[error("cannot make the archive of {image}")]
    Archive {
        /// The image.
        image: Pinned,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Daemon {
    /// Returns the daemon at `socket`, where one answers. Archives on their way are kept in `scratch`.
    ///
    /// # Errors
    /// `Unreachable` where nobody answers, `Refused` where it is no daemon.
    pub fn connect(socket: &Path, scratch: &Path) -> Result<Self, DaemonError> {
        let daemon = Self { socket: socket.to_owned(), scratch: scratch.to_owned() };
        let answer = daemon.ask("GET /_ping", PING_TIMEOUT, None)?;
        daemon.expect_success("GET /_ping", &answer)?;
        Ok(daemon)
    }

    /// Loads the image of a service as `SERVICE:local` and makes sure that it is there.
    ///
    /// # Errors
    /// `NotLoaded` where the daemon says yes and has something else.
    pub fn load(&self, service: &Name, image: &Pinned, source: &dyn ImageStore) -> Result<(), DaemonError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| DaemonError::Archive {
            image: image.clone(),
            source,
        };
        let name = local_name(service).map_err(|error| failed(error.into()))?;
        let document = source.document(&image.digest())?;
        let manifest = image_for_platform(source, document.descriptor(), &Platform::host())?;
        let folder = tempfile::tempdir_in(&self.scratch).map_err(|error| failed(error.into()))?;
        let path = folder.path().join("image.tar");
        let descriptor = manifest.descriptor().clone();
        let sent = ArchiveImage { source, descriptor, names: vec![name.clone()] };
        save_to_path(&[sent], ArchiveFormat::DockerArchive, &ArchiveOptions::default(), &path)
            .map_err(|error| failed(error.into()))?;
        let archive = File::open(&path).map_err(|error| failed(error.into()))?;
        let request = "POST /images/load?quiet=1";
        let answer = self.ask(request, LOAD_TIMEOUT, Some(archive))?;
        self.expect_success(request, &answer)?;
        let config = manifest.as_image().map(|image| image.config.digest);
        self.check(service, [Some(manifest.digest()), config].into_iter().flatten().collect())
    }

    /// Compares what the daemon has under the service's name: its id is the configuration's digest in
    /// Docker's classic stores and the manifest's in containerd's.
    fn check(&self, service: &Name, expected: Vec<Digest>) -> Result<(), DaemonError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Inspected {
            id: String,
        }
        let name = format!("{}:local", service.as_str().to_ascii_lowercase());
        let request = format!("GET /images/{name}/json");
        let answer = self.ask(&request, PING_TIMEOUT, None)?;
        self.expect_success(&request, &answer)?;
        let found = serde_json::from_slice::<Inspected>(&answer.body)
            .map_or_else(|_| "an answer that is not JSON".to_owned(), |inspected| inspected.id);
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        // Podman leaves the algorithm out.
        let is_it = |digest: &String| *digest == found || digest.ends_with(&format!(":{found}"));
        match expected.iter().any(is_it) {
            true => Ok(()),
            false => Err(DaemonError::NotLoaded { name, found, expected }),
        }
    }

    fn ask(&self, request: &str, timeout: Duration, body: Option<File>) -> Result<Answer, DaemonError> {
        self.exchange(request, timeout, body)
            .map_err(|source| DaemonError::Unreachable { socket: self.socket.clone(), source })
    }

    fn exchange(&self, request: &str, timeout: Duration, body: Option<File>) -> io::Result<Answer> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let length = body.as_ref().map(File::metadata).transpose()?.map_or(0, |metadata| metadata.len());
        write!(
            stream,
            "{request} HTTP/1.0\r\nHost: daemon\r\nContent-Type: application/x-tar\r\nContent-Length: {length}\r\n\r\n"
        )?;
        if let Some(mut body) = body {
            // A daemon that refuses early answers before it has read all; the answer says why.
            let sent = io::copy(&mut body, &mut stream);
            if let Err(error) = sent.as_ref()
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                return Err(io::Error::new(error.kind(), error.to_string()));
            }
        }
        read_answer(&mut BufReader::new(stream))
    }

    fn expect_success(&self, request: &str, answer: &Answer) -> Result<(), DaemonError> {
        if answer.status == 200 && !reports_error(&answer.body) {
            return Ok(());
        }
        Err(DaemonError::Refused {
            socket: self.socket.clone(),
            request: request.to_owned(),
            status: answer.status,
            message: String::from_utf8_lossy(&answer.body).trim().chars().take(2000).collect(),
        })
    }
}

/// Loading answers 200 before it is done; what goes wrong then stands in the stream of messages.
fn reports_error(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Message {
        error: Option<String>,
    }
    let messages = serde_json::Deserializer::from_slice(body).into_iter::<Message>();
    messages.map_while(Result::ok).any(|message| message.error.is_some())
}

fn read_answer(reader: &mut impl BufRead) -> io::Result<Answer> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = reader.take(MAX_HEADER_BYTES);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| invalid("the answer is not HTTP"))?;
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(invalid("the answer breaks off in its headers"));
        }
        if line.trim_end().is_empty() {
            break;
        }
    }
    let mut body = Vec::new();
    reader.take(MAX_ANSWER_BYTES).read_to_end(&mut body)?;
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A daemon that gives one answer to one connection.
    fn daemon_that_answers(answer: &'static str) -> (tempfile::TempDir, std::thread::JoinHandle<String>) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        (folder, thread)
    }

    fn connect(folder: &tempfile::TempDir) -> Result<Daemon, DaemonError> {
        Daemon::connect(&folder.path().join("socket"), folder.path())
    }

    #[test]
    fn a_daemon_answers_the_ping() {
        let (folder, thread) = daemon_that_answers("HTTP/1.0 200 OK\r\nApi-Version: 1.41\r\n\r\nOK");
        connect(&folder).unwrap();
        assert!(thread.join().unwrap().starts_with("GET /_ping HTTP/1.0\r\n"));
    }

    #[test]
    fn refusals_say_what_the_daemon_said() {
        let (folder, thread) = daemon_that_answers("HTTP/1.0 403 Forbidden\r\n\r\nnot you");
        let error = connect(&folder).unwrap_err().to_string();
        assert!(error.contains("403") && error.contains("not you"), "{error}");
        thread.join().unwrap();
    }

    #[test]
    fn what_is_no_daemon_is_unreachable() {
        let (folder, thread) = daemon_that_answers("SSH-2.0-x\r\n");
        assert!(matches!(connect(&folder), Err(DaemonError::Unreachable { .. })));
        thread.join().unwrap();
        let nothing = tempfile::tempdir().unwrap();
        assert!(matches!(connect(&nothing), Err(DaemonError::Unreachable { .. })));
    }

    #[test]
    fn an_error_in_the_stream_is_an_error() {
        assert!(reports_error(b"{\"stream\":\"x\"}\r\n{\"errorDetail\":{},\"error\":\"no space\"}\r\n"));
        assert!(!reports_error(b"{\"stream\":\"Loaded image: api:local\\n\"}\r\n"));
        assert!(!reports_error(b"OK"));
    }
}
