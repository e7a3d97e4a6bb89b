//! Records: one small file per key, naming the layer that the step gave.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use oci::{Descriptor, DiffId};
use serde::{Deserialize, Serialize};

use super::CacheKey;

const SCHEMA: &str = "plimsoll.step/1";

/// What a step gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    schema: String,
    /// The layer, uncompressed.
    pub diff_id: DiffId,
    /// The layer's blob.
    pub descriptor: Descriptor,
    /// The instruction that ran, for people; not part of the key.
    pub instruction: String,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// How the blob is compressed, such as `gzip:3`; empty in records of before this was noted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub compression: String,
}

impl StepRecord {
    /// Returns the record of a step that has just run.
    pub fn new(diff_id: DiffId, descriptor: Descriptor, instruction: &str, milliseconds: u64) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            diff_id,
            descriptor,
            instruction: instruction.to_owned(),
            milliseconds,
            compression: String::new(),
        }
    }

    /// Returns the record with how the blob is compressed.
    #[must_use]
    pub fn compressed(self, compression: String) -> Self {
        Self { compression, ..self }
    }

    /// Returns the record of the same layer in another compression.
    #[must_use]
    pub(crate) fn variant(self, descriptor: &Descriptor, compression: String) -> Self {
        Self { compression, descriptor: descriptor.clone(), ..self }
    }
}

/// A record as it lies on the disk.
#[derive(Clone, Debug)]
pub struct KeptRecord {
    /// What it says.
    pub record: StepRecord,
    /// When it was last read, as far as the file system keeps it: mostly to the day; where it is mounted with
    /// `noatime`, when the record was written.
    pub used: SystemTime,
    /// Its file.
    pub path: PathBuf,
}

fn read(path: &Path) -> Option<StepRecord> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return None;
    }
    let record: StepRecord = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (record.schema == SCHEMA).then_some(record)
}

/// The records in one folder. Several processes may use it at once.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// Opens the folder, making it where it is not there.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Returns the record of `key`. A record that cannot be read counts as none: the step runs
    /// again and writes a good one.
    pub fn get(&self, key: &CacheKey) -> Option<StepRecord> {
        read(&self.path(key))
    }

    /// Returns every record with its file and when it was last of use, in no order. Files that are no
    /// records are left out.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> io::Result<Vec<KeptRecord>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            // Before the record is read, which counts as use.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let Some(record) = read(&path) else { continue };
            let used = metadata.accessed().ok().max(metadata.modified().ok());
            found.push(KeptRecord { record, used: used.unwrap_or(SystemTime::UNIX_EPOCH), path });
        }
        Ok(found)
    }

    /// Removes the files by which builds wait for each other. Nobody may build meanwhile.
    pub fn remove_locks(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "lock") {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Writes the record of `key`, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put(&self, key: &CacheKey, record: &StepRecord) -> io::Result<()> {
        let bytes = serde_json::to_vec(record).expect("a record has only string keys");
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&bytes)?;
        file.persist(self.path(key)).map_err(|error| error.error)?;
        Ok(())
    }

    /// Waits until no other thread or process works on `key` and holds it until the guard is dropped,
    /// so that two builds that need the same step run it once.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub fn lock(&self, key: &CacheKey) -> io::Result<KeyGuard> {
        let file = File::create(self.folder.join(format!("{}.lock", key.hex())))?;
        file.lock()?;
        Ok(KeyGuard { _file: file })
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        self.folder.join(format!("{}.json", key.hex()))
    }
}

/// Holds a key; see [`Records::lock`].
#[derive(Debug)]
pub struct KeyGuard {
    _file: File,
}

#[cfg(test)]
mod tests {
    use oci::{Digest, MediaType};

    use super::*;
    use crate::cache::KeyBuilder;

    fn record() -> StepRecord {
        let descriptor = Descriptor::of(MediaType::OciLayerGzip, b"layer");
        StepRecord::new(DiffId(Digest::of(b"tar")), descriptor, "RUN true", 3)
    }

    #[test]
    fn keeps_what_was_put() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let key = KeyBuilder::new("run").finish();
        assert_eq!(records.get(&key), None);
        records.put(&key, &record()).unwrap();
        assert_eq!(records.get(&key), Some(record()));
    }

    #[test]
    fn a_damaged_record_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let key = KeyBuilder::new("run").finish();
        records.put(&key, &record()).unwrap();
        let path = folder.path().join(format!("{key}.json"));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(records.get(&key), None);
    }

    #[test]
    fn the_second_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let key = KeyBuilder::new("run").finish();
        let guard = records.lock(&key).unwrap();
        let other = records.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _guard = other.lock(&key).unwrap();
            sender.send(()).unwrap();
        });
        assert!(receiver.try_recv().is_err());
        drop(guard);
        receiver.recv().unwrap();
        thread.join().unwrap();
    }
}
