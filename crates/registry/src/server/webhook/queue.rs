//! What one receiver is to be told, in files: a file for each message, so that a killed process leaves
//! whole messages or none.
//!
//! | path in the folder | what |
//! |---|---|
//! | `NUMBER-ID.announced` | written before the change; no change yet, or a process that was killed in it |
//! | `NUMBER-ID.json` | the change came about |
//! | `dead/NUMBER-ID.json` | was not taken after all tries; moved back by hand, it is told after the next start |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::event::{Body, Happening};

/// Larger files are none of ours.
const MAX_BYTES: u64 = 1 << 20;
/// How many dead letters are kept; the oldest go.
const MAX_DEAD: usize = 1000;

/// The messages of one receiver.
pub(super) struct Queue {
    folder: PathBuf,
    limit: usize,
    next: u64,
    /// Those that may be told, by number.
    ready: BTreeMap<u64, Message>,
    /// How many are announced.
    announced: usize,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub number: u64,
    /// The same for every try; receivers know a second one by it.
    pub id: String,
    pub body: String,
}

impl Message {
    fn stem(&self) -> String {
        format!("{:016}-{}", self.number, self.id)
    }
}

impl Queue {
    /// Reads what waits; `is_so` says whether what was announced came about.
    pub fn open(folder: &Path, limit: usize, is_so: &impl Fn(&Happening) -> bool) -> io::Result<Self> {
        fs::create_dir_all(folder.join("dead"))?;
        let mut queue =
            Self { folder: folder.to_owned(), limit, next: 1, ready: BTreeMap::new(), announced: 0 };
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let Some((message, is_announced)) = read(&path) else { continue };
            queue.next = queue.next.max(message.number + 1);
            if !is_announced {
                queue.ready.insert(message.number, message);
            } else if Body::happening(&message.body).is_some_and(|happening| is_so(&happening)) {
                fs::rename(&path, queue.path(&message, "json"))?;
                queue.ready.insert(message.number, message);
            } else {
                fs::remove_file(&path)?;
            }
        }
        Ok(queue)
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// Writes a message of what is about to happen, to survive a crash.
    pub fn write(&mut self, body: &Body) -> Result<Message, String> {
        if self.ready.len() + self.announced >= self.limit {
            return Err(format!("{} events wait already; this one is lost", self.limit));
        }
        let message = Message { number: self.next, id: random_id()?, body: body.to_json() };
        self.next += 1;
        let path = self.path(&message, "announced");
        let written = File::create_new(&path).and_then(|mut file| {
            file.write_all(message.body.as_bytes())?;
            file.sync_data()?;
            File::open(&self.folder)?.sync_all()
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&path);
            return Err(format!("an event cannot be written to {}: {error}", path.display()));
        }
        self.announced += 1;
        Ok(message)
    }

    /// Makes a message that was written one that is told.
    pub fn release(&mut self, message: Message) -> Result<(), String> {
        self.announced -= 1;
        let path = self.path(&message, "announced");
        fs::rename(&path, self.path(&message, "json"))
            .map_err(|error| format!("the event {} is gone: {error}", path.display()))?;
        self.ready.insert(message.number, message);
        Ok(())
    }

    /// Removes a message of what did not happen.
    pub fn forget(&mut self, message: Message) {
        self.announced -= 1;
        // Where it stays, the next start finds that it did not happen.
        let _ = fs::remove_file(self.path(&message, "announced"));
    }

    /// Returns the messages in the order in which they were written.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.ready.values()
    }

    /// Removes a message that was told.
    pub fn done(&mut self, number: u64) {
        if let Some(message) = self.ready.remove(&number) {
            // Where it stays, it is told once more after the next start.
            let _ = fs::remove_file(self.path(&message, "json"));
        }
    }

    /// Sets a message aside that nobody takes.
    pub fn bury(&mut self, number: u64) {
        let Some(message) = self.ready.remove(&number) else { return };
        let dead = self.folder.join("dead");
        let _ = fs::rename(self.path(&message, "json"), dead.join(format!("{}.json", message.stem())));
        let Ok(entries) = fs::read_dir(&dead) else { return };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.iter().rev().skip(MAX_DEAD) {
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self, message: &Message, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", message.stem()))
    }
}

/// Reads a file of the folder; `None` where it is none of ours. Says whether it was only announced.
fn read(path: &Path) -> Option<(Message, bool)> {
    let name = path.file_name()?.to_str()?;
    let (stem, ending) = name.split_once('.')?;
    let is_announced = match ending {
        "announced" => true,
        "json" => false,
        _ => return None,
    };
    let (number, id) = stem.split_once('-')?;
    let metadata = fs::symlink_metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return None;
    }
    let message = Message {
        number: number.parse().ok().filter(|number| *number < u64::MAX)?,
        id: id.to_owned(),
        body: fs::read_to_string(path).ok()?,
    };
    Some((message, is_announced))
}

fn random_id() -> Result<String, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(bytes.iter().fold("msg_".to_owned(), |id, byte| format!("{id}{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use oci::{Digest, Repository};

    use super::*;

    fn body(name: &str) -> Body {
        let repository: Repository = format!("local/{name}").parse().unwrap();
        let happening = Happening::of_removal(&repository, Digest::of(b"x"), &[]).remove(0);
        Body::new(&happening, "", Timestamp::UNIX_EPOCH)
    }

    fn open(folder: &Path) -> Queue {
        Queue::open(folder, 3, &|happening: &Happening| happening.repository.path() == "so").unwrap()
    }

    fn names(queue: &Queue) -> Vec<u64> {
        queue.messages().map(|message| message.number).collect()
    }

    #[test]
    fn what_was_written_survives_and_what_did_not_happen_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut queue = open(folder.path());
        let first = queue.write(&body("a")).unwrap();
        queue.release(first.clone()).unwrap();
        // Announced, and then the process is killed: before the change, and behind it.
        queue.write(&body("not")).unwrap();
        queue.write(&body("so")).unwrap();
        assert!(queue.write(&body("more")).unwrap_err().contains("3 events wait"));
        drop(queue);

        std::fs::write(folder.path().join("notes.txt"), "not ours").unwrap();
        let mut queue = open(folder.path());
        assert_eq!(names(&queue), [1, 3]);
        assert_eq!(queue.messages().next(), Some(&first));
        queue.done(1);
        queue.bury(3);
        assert_eq!(queue.write(&body("a")).unwrap().number, 4);
        drop(queue);
        assert_eq!(names(&open(folder.path())), [0; 0]);
        assert_eq!(std::fs::read_dir(folder.path().join("dead")).unwrap().count(), 1);
    }

    #[test]
    fn a_message_that_is_forgotten_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut queue = open(folder.path());
        for _ in 0..5 {
            let message = queue.write(&body("so")).unwrap();
            queue.forget(message);
        }
        assert_eq!(names(&open(folder.path())), [0; 0]);
    }
}
