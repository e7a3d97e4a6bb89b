//! Files that an administrator changes while `serve registry` runs. They are looked at again and again, and
//! count once they were the same at two looks: one that is half written, or not there while it is being
//! replaced, is not taken. Where the new content cannot be used, what was in force stays, and that is said.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use oci::Digest;

use crate::error::Error;
use crate::ui::Ui;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Files, with what was in them when they were read.
#[derive(Debug, Default)]
pub struct Files(Vec<(PathBuf, Option<Digest>)>);

/// Files that count together, and what is done where they changed.
pub struct Watched<'a> {
    files: Files,
    /// What they were at the last look, where that was something else than what is in force.
    pending: Option<Vec<Option<Digest>>>,
    /// Reads them again, puts that in force, and returns what it read.
    again: Box<dyn FnMut() -> Result<Files, Error> + Send + 'a>,
}

impl Files {
    /// Reads one more file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self, path: &Path) -> Result<Vec<u8>, Error> {
        let content = std::fs::read(path);
        self.0.push((path.to_owned(), content.as_deref().ok().map(Digest::of)));
        content.map_err(|source| Error::file("read", path, source))
    }

    /// Reads one more file, which is text.
    ///
    /// # Errors
    /// It cannot be read, or is not UTF-8.
    pub fn read_text(&mut self, path: &Path) -> Result<String, Error> {
        String::from_utf8(self.read(path)?)
            .map_err(|_| Error::usage(format!("{} is not text in UTF-8", path.display())))
    }

    fn look(&self) -> Vec<Option<Digest>> {
        let digest = |(path, _): &(PathBuf, _)| std::fs::read(path).ok().map(|content| Digest::of(&content));
        self.0.iter().map(digest).collect()
    }

    fn digests(&self) -> Vec<Option<Digest>> {
        self.0.iter().map(|(_, digest)| *digest).collect()
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.0.iter().map(|(path, _)| path.display().to_string()).collect();
        names.join(" or ")
    }
}

impl<'a> Watched<'a> {
    /// Returns `files` as something to look at; `again` is called where they changed.
    pub fn new(files: Files, again: impl FnMut() -> Result<Files, Error> + Send + 'a) -> Self {
        Self { files, pending: None, again: Box::new(again) }
    }

    /// Looks once; `None` where nothing is to be said.
    fn look(&mut self) -> Option<Result<String, String>> {
        let found = self.files.look();
        if found == self.files.digests() {
            self.pending = None;
            return None;
        }
        if self.pending.as_ref() != Some(&found) {
            self.pending = Some(found);
            return None;
        }
        self.pending = None;
        let names = self.files.names();
        let again = registry::server::survive(&mut self.again);
        let failed = match again {
            Ok(Ok(files)) => {
                self.files = files;
                return Some(Ok(format!("{names} changed: in force from now on")));
            }
            Ok(Err(error)) => store::with_causes(&error),
            Err(defect) => defect,
        };
        // The same is not tried again.
        self.files.0.iter_mut().zip(found).for_each(|((_, digest), found)| *digest = found);
        Some(Err(format!("{names} changed and cannot be used, so what was in force stays: {failed}")))
    }
}

/// Looks at files until nobody is left who could say that it is enough.
pub fn run(mut watched: Vec<Watched<'_>>, enough: &Receiver<()>, ui: &Ui) {
    while let Err(RecvTimeoutError::Timeout) = enough.recv_timeout(LOOK_EVERY) {
        for watched in &mut watched {
            match watched.look() {
                None => {}
                Some(Ok(message)) => ui.note(message),
                Some(Err(message)) => ui.warn(message),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn what_changed_counts_once_it_stays_and_what_cannot_be_used_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let read = |path: &Path| {
            let mut files = Files::default();
            files.read_text(path).map(|text| (text, files))
        };
        write("one");
        let (text, files) = read(&path).unwrap();
        let force = Arc::new(Mutex::new(text));
        let (written, shared) = (path.clone(), force.clone());
        let mut watched = Watched::new(files, move || {
            let (text, files) = read(&written)?;
            assert_ne!(text, "panic");
            if text == "wrong" {
                return Err(Error::usage("it is wrong"));
            }
            *shared.lock().unwrap() = text;
            Ok(files)
        });
        let mut look = || watched.look();
        assert_eq!(look(), None);
        write("two");
        assert_eq!(look(), None, "it may be half written");
        assert!(look().unwrap().unwrap().ends_with("in force from now on"));
        assert_eq!((look(), force.lock().unwrap().as_str()), (None, "two"));
        write("thr");
        assert_eq!(look(), None);
        write("three");
        assert_eq!(look(), None, "it was half written");
        write("two");
        assert_eq!((look(), look()), (None, None), "as it was before");
        for wrong in ["wrong", "panic"] {
            write(wrong);
            assert_eq!(look(), None);
            let said = look().unwrap().unwrap_err();
            assert!(said.contains("what was in force stays: "), "{said}");
            assert_eq!((look(), look()), (None, None), "once is enough");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look(), None, "it may come back");
        assert!(look().unwrap().unwrap_err().contains("cannot read"));
        assert_eq!(force.lock().unwrap().as_str(), "two");
        write("four");
        assert_eq!(look(), None);
        assert!(look().unwrap().is_ok() && force.lock().unwrap().as_str() == "four");
    }
}
