//! GitLab CI.
//!
//! | asked for | here |
//! |---|---|
//! | event | the predefined `CI_*` variables |
//! | outputs | a dotenv file, `.plimsoll/outputs.env` in the project; the job hands it on with `artifacts:reports:dotenv` |
//! | summary | `.plimsoll/summary.md` in the project: the host has no page for one |
//! | groups | sections of the log, collapsed |
//! | annotations | none in the log; reports are files of their own |
//! | output of others | as it is: the host obeys no line of it; a section that it opens or closes folds the log, no more |
//!
//! Source: GitLab's documentation of predefined variables, of `artifacts:reports:dotenv` and of
//! custom collapsible sections.

mod dotenv;
mod event;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use pipeline::event::Event;
use pipeline::forge::{Annotation, Forge, ForgeError, Outputs};

use crate::Environment;

/// A job of GitLab CI.
#[derive(Debug)]
pub struct GitLab {
    environment: Environment,
    clock: fn() -> Timestamp,
    sections: Mutex<Sections>,
}

/// Sections of the log: how many there were, and which are open.
#[derive(Debug, Default)]
struct Sections {
    count: u32,
    open: Vec<u32>,
}

/// Clears the line, so that the marker is not seen.
const CLEAR: &str = "\u{1b}[0K";

impl GitLab {
    /// Returns the job that `environment` is of; sections carry the time of `clock`.
    pub fn new(environment: &Environment, clock: fn() -> Timestamp) -> Self {
        Self { environment: environment.clone(), clock, sections: Mutex::default() }
    }

    /// Returns what a job with `environment` runs for, with the clone in `folder`.
    ///
    /// # Errors
    /// Where the variables and the clone do not say which commit it is.
    pub fn event_of(environment: &Environment, folder: &Path) -> Result<Event, ForgeError> {
        event::read(environment, folder)
    }

    /// Returns a file of ours in the project, where the host says which folder that is.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let project = self.environment.get("CI_PROJECT_DIR").filter(|folder| !folder.is_empty())?;
        Some(Path::new(project).join(".plimsoll").join(name))
    }

    fn seconds(&self) -> i64 {
        (self.clock)().as_second()
    }
}

impl Forge for GitLab {
    fn name(&self) -> &'static str {
        "gitlab"
    }

    fn event(&self, folder: &Path) -> Result<Event, ForgeError> {
        Self::event_of(&self.environment, folder)
    }

    fn write_outputs(&self, outputs: &Outputs) -> Result<(), ForgeError> {
        let Some(path) = self.file(dotenv::FILE) else { return Ok(()) };
        let left_out = dotenv::write(&path, outputs)?;
        if !left_out.is_empty() {
            tracing::warn!(
                "{} cannot hold {}: a dotenv report takes few, short values of one line; read them from the ledger",
                path.display(),
                left_out.join(", ")
            );
        }
        Ok(())
    }

    /// Variables of a job come from its dotenv report, which takes the outputs already.
    fn write_variables(&self, _: &Outputs) -> Result<(), ForgeError> {
        Ok(())
    }

    fn write_summary(&self, markdown: &str) -> Result<(), ForgeError> {
        let Some(path) = self.file("summary.md") else { return Ok(()) };
        write(&path, markdown)
    }

    fn annotation(&self, _: &Annotation) -> Option<String> {
        None
    }

    fn group_start(&self, title: &str) -> Option<String> {
        let mut sections = self.sections.lock().unwrap_or_else(PoisonError::into_inner);
        sections.count += 1;
        let number = sections.count;
        sections.open.push(number);
        let title: String = title.chars().filter(|c| !c.is_control()).collect();
        let start = format!("section_start:{}:plimsoll_{number}[collapsed=true]", self.seconds());
        Some(format!("{CLEAR}{start}\r{CLEAR}{title}"))
    }

    fn group_end(&self) -> Option<String> {
        let mut sections = self.sections.lock().unwrap_or_else(PoisonError::into_inner);
        let number = sections.open.pop()?;
        Some(format!("{CLEAR}section_end:{}:plimsoll_{number}\r{CLEAR}", self.seconds()))
    }

    fn harmless<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }
}

/// Writes a file of ours whole, with the folder around it.
fn write(path: &Path, text: &str) -> Result<(), ForgeError> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, text)).map_err(|source| {
        ForgeError::File { action: "write", variable: "CI_PROJECT_DIR", path: path.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ten() -> Timestamp {
        Timestamp::from_second(10).unwrap()
    }

    fn job(folder: &Path) -> GitLab {
        let variables = [("CI_PROJECT_DIR".to_owned(), folder.display().to_string())];
        GitLab::new(&Environment::from(variables), at_ten)
    }

    #[test]
    fn sections_nest_and_close_the_last_one() {
        let job = job(Path::new("/"));
        let open = [job.group_start("build\r\u{1b}[31m api").unwrap(), job.group_start("push").unwrap()];
        assert_eq!(open[0], "\u{1b}[0Ksection_start:10:plimsoll_1[collapsed=true]\r\u{1b}[0Kbuild[31m api");
        assert!(open[1].contains("plimsoll_2"));
        assert_eq!(job.group_end().unwrap(), "\u{1b}[0Ksection_end:10:plimsoll_2\r\u{1b}[0K");
        assert!(job.group_end().unwrap().contains("plimsoll_1"));
        assert_eq!(job.group_end(), None);
    }

    #[test]
    fn outputs_and_summary_are_files_of_the_project() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        job.write_outputs(&Outputs(vec![("version".to_owned(), "1.2.3".to_owned())])).unwrap();
        job.write_summary("# one").unwrap();
        job.write_summary("# two").unwrap();
        let read = |name| std::fs::read_to_string(folder.path().join(".plimsoll").join(name)).unwrap();
        assert_eq!(read("outputs.env"), "PLIMSOLL_VERSION=1.2.3\n");
        assert_eq!(read("summary.md"), "# two");
        let nowhere = GitLab::new(&Environment::new(), at_ten);
        assert!(nowhere.write_summary("x").is_ok() && nowhere.write_outputs(&Outputs::default()).is_ok());
        let file = tempfile::NamedTempFile::new().unwrap();
        let blocked = GitLab::new(
            &Environment::from([("CI_PROJECT_DIR".to_owned(), file.path().display().to_string())]),
            at_ten,
        );
        assert!(blocked.write_summary("x").unwrap_err().to_string().contains("(CI_PROJECT_DIR)"));
    }
}
