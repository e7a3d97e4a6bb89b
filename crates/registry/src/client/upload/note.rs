//! Sessions that outlive the process: where the upload of a blob is, so that the next process sends only
//! what is missing.
//!
//! One small file for each registry, repository and digest, locked while the upload runs; it holds the
//! address of the session and when it was noted, and no credentials. Addresses at other hosts are not
//! kept: those carry their permission with them. A note counts for an hour.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::Uri;
use jiff::Timestamp;
use oci::{Descriptor, Digest};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::Session;
use crate::client::Clock;
use crate::client::address::Origin;
use crate::client::repository::RemoteRepository;

const SCHEMA: &str = "plimsoll.upload/1";
/// How long a note counts: registries forget, and most pushes that are made again come soon.
const LIFE_SECONDS: i64 = 60 * 60;
/// Smaller blobs are sent again sooner than asked for.
const MIN_BYTES: u64 = 1 << 20;
const MAX_NOTE_BYTES: u64 = 64 << 10;

/// Whether a client looked for old notes.
#[derive(Debug, Default)]
pub(crate) struct Swept(AtomicBool);

/// The note of one upload; of none where none can be kept.
#[derive(Default)]
pub(super) struct Note(Option<Open>);

struct Open {
    /// Open once there is something to note, or was.
    file: Option<File>,
    path: PathBuf,
    clock: Clock,
    origin: Origin,
}

#[derive(Serialize, Deserialize)]
struct Written {
    schema: String,
    session: String,
    #[serde(default)]
    chunk_min_bytes: u64,
    noted_at: i64,
}

impl Note {
    /// Returns the note for a blob, and the session that another process noted. Nothing is kept of small
    /// blobs, and where another process is sending the same one.
    pub fn take(remote: &RemoteRepository, descriptor: &Descriptor) -> (Self, Option<Session>) {
        let shared = &remote.host.shared;
        let Some(folder) = shared.options.sessions.as_deref().filter(|_| descriptor.size >= MIN_BYTES) else {
            return (Self::default(), None);
        };
        let clock = shared.options.clock.clone();
        if !shared.swept.0.swap(true, Ordering::Relaxed) {
            sweep(folder, clock.now());
        }
        let name = format!("{} {}", remote.repository, descriptor.digest);
        let path = folder.join(format!("{}.json", Digest::of(name.as_bytes()).hex()));
        let Ok(origin) = remote.host.origin() else { return (Self::default(), None) };
        // What is linked needs none, so none is made before there is a session.
        let file = lock(&path, false);
        let known = file.as_ref().and_then(|file| read(file, clock.now()));
        let known = known.filter(|session| origin.holds(&session.at));
        (Self(Some(Open { file, path, clock, origin })), known)
    }

    /// Notes where the upload is. What cannot be noted is only not found again.
    pub fn write(&mut self, session: &Session) {
        let Some(open) = &mut self.0 else { return };
        if !open.origin.holds(&session.at) {
            return;
        }
        if open.file.is_none() {
            open.file = lock(&open.path, true);
        }
        let Some(mut file) = open.file.as_ref() else { return };
        let written = Written {
            schema: SCHEMA.to_owned(),
            session: session.at.to_string(),
            chunk_min_bytes: session.least,
            noted_at: open.clock.now().as_second(),
        };
        let text = serde_json::to_vec(&written).expect("it has strings and numbers");
        let mut write = || -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(&text)
        };
        if let Err(error) = write() {
            tracing::debug!(%error, path = %open.path.display(), "an upload is not noted");
        }
    }

    /// Removes the note of an upload that is done.
    pub fn forget(self) {
        if let Some(open) = self.0.filter(|open| open.file.is_some()) {
            // A note that stays leads to a session that is gone, which is found out.
            let _ = fs::remove_file(&open.path);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // An upload that ended before its session began leaves nothing.
        let metadata = self.file.as_ref().and_then(|file| file.metadata().ok());
        if metadata.is_some_and(|metadata| metadata.len() == 0 && metadata.nlink() > 0) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens a note that nobody else has open.
fn lock(path: &Path, create: bool) -> Option<File> {
    for _ in 0..2 {
        if create {
            fs::create_dir_all(path.parent()?).ok()?;
        }
        let mut options = File::options();
        options.read(true).write(true).create(create).truncate(false).mode(0o600);
        let file = options.open(path).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        // Who had it before may have removed it.
        if file.metadata().ok()?.nlink() > 0 {
            return Some(file);
        }
    }
    None
}

/// Returns the session of a note that still counts.
fn read(mut file: &File, now: Timestamp) -> Option<Session> {
    let mut text = String::new();
    file.take(MAX_NOTE_BYTES).read_to_string(&mut text).ok()?;
    let _ = file.rewind();
    let written: Written = serde_json::from_str(&text).ok()?;
    // One from the future was written by another clock.
    let age = now.as_second().checked_sub(written.noted_at)?;
    let counts = written.schema == SCHEMA && (0..=LIFE_SECONDS).contains(&age);
    let at: Uri = written.session.parse().ok()?;
    counts.then_some(Session { at, least: written.chunk_min_bytes })
}

/// Removes the notes that count no longer and that nobody has open.
fn sweep(folder: &Path, now: Timestamp) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_note = path.extension().is_some_and(|extension| extension == "json");
        let file = if is_note { lock(&path, false) } else { None };
        if file.is_some_and(|file| read(&file, now).is_none()) {
            let _ = fs::remove_file(&path);
        }
    }
}
