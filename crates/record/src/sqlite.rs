//! The record in one SQLite file. Several processes may use it at once; each call is one transaction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use oci::Digest;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::migration::{self, TooNew};
use crate::{Run, RunService, RunSuite};

/// How long a call waits for another process to finish its own.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What happened, kept.
#[derive(Debug)]
pub struct Record {
    connection: Connection,
    path: PathBuf,
}

/// The record could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// SQLite refused.
    #[error("cannot {action} the record {path}")]
    Sqlite {
        /// `open`, `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer version of the program wrote the file.
    #[error(
        "the record {path} has version {found}, newer than {} that this program knows: update the program or move the file away",
        migration::VERSION
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl Record {
    /// Opens the record at `path` and makes it where it is not there. The folder must exist.
    ///
    /// # Errors
    /// `Sqlite` where the file cannot be opened or is something else; `TooNew`.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let failed = |source| RecordError::Sqlite { action: "open", path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        match migration::migrate(&mut connection).map_err(failed)? {
            Ok(()) => Ok(Self { connection, path: path.to_owned() }),
            Err(TooNew { found }) => Err(RecordError::TooNew { path: path.to_owned(), found }),
        }
    }

    /// Adds a run, all of it or nothing.
    ///
    /// # Errors
    /// `Sqlite`, also where two services of the run have one name.
    pub fn add_run(&mut self, run: &Run) -> Result<(), RecordError> {
        let add = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            insert_run(&transaction, run)?;
            transaction.commit()
        };
        add(&mut self.connection).map_err(|source| self.failed("write", source))
    }

    /// Returns the last `limit` runs of all projects, the newest first.
    ///
    /// # Errors
    /// `Sqlite`, also where the file holds what this program did not write.
    pub fn runs(&self, limit: u32) -> Result<Vec<Run>, RecordError> {
        self.read_runs(limit).map_err(|source| self.failed("read", source))
    }

    /// Returns the digest that `service` had in the last run for `event` in which it had one and did
    /// not fail; `None` where there was no such run.
    ///
    /// # Errors
    /// `Sqlite`, also where the file holds what this program did not write.
    pub fn last_digest(
        &self,
        project: &str,
        event: &str,
        service: &str,
    ) -> Result<Option<Digest>, RecordError> {
        let query = "SELECT digest FROM service JOIN run ON run.id = service.run
            WHERE project = ?1 AND event = ?2 AND name = ?3 AND digest IS NOT NULL AND status <> 'failed'
            ORDER BY run.id DESC LIMIT 1";
        let found = self.connection.query_row(query, params![project, event, service], |row| parsed(row, 0));
        found.optional().map_err(|source| self.failed("read", source))
    }

    fn read_runs(&self, limit: u32) -> rusqlite::Result<Vec<Run>> {
        let query = "SELECT id, project, started_ms, duration_ms, event, revision, exit_code
            FROM run ORDER BY id DESC LIMIT ?1";
        let mut statement = self.connection.prepare(query)?;
        let runs = statement.query_map([limit], |row| self.read_run(row))?;
        runs.collect()
    }

    fn read_run(&self, row: &Row<'_>) -> rusqlite::Result<Run> {
        Ok(Run {
            project: row.get("project")?,
            started: timestamp(row, "started_ms")?,
            duration: duration(row, "duration_ms")?,
            event: row.get("event")?,
            revision: row.get("revision")?,
            exit_code: row.get("exit_code")?,
            services: self.read_services(row.get("id")?)?,
        })
    }

    fn read_services(&self, run: i64) -> rusqlite::Result<Vec<RunService>> {
        let query = "SELECT name, repository, digest, status, duration_ms, size, steps, cached_steps, id
            FROM service WHERE run = ?1 ORDER BY name";
        let mut statement = self.connection.prepare_cached(query)?;
        let services = statement.query_map([run], |row| self.read_service(row))?;
        services.collect()
    }

    fn read_service(&self, row: &Row<'_>) -> rusqlite::Result<RunService> {
        let has_digest = row.get::<_, Option<String>>(2)?.is_some();
        Ok(RunService {
            name: row.get(0)?,
            repository: parsed(row, 1)?,
            digest: has_digest.then(|| parsed(row, 2)).transpose()?,
            status: parsed(row, 3)?,
            duration: duration(row, "duration_ms")?,
            size: unsigned(row, 5)?,
            steps: row.get(6)?,
            cached_steps: row.get(7)?,
            suites: self.read_suites(row.get(8)?)?,
        })
    }

    fn read_suites(&self, service: i64) -> rusqlite::Result<Vec<RunSuite>> {
        let query = "SELECT name, status, duration_ms FROM suite WHERE service = ?1 ORDER BY name";
        let mut statement = self.connection.prepare_cached(query)?;
        let suites = statement.query_map([service], |row| {
            Ok(RunSuite {
                name: row.get(0)?,
                status: parsed(row, 1)?,
                duration: duration(row, "duration_ms")?,
            })
        })?;
        suites.collect()
    }

    fn failed(&self, action: &'static str, source: rusqlite::Error) -> RecordError {
        RecordError::Sqlite { action, path: self.path.clone(), source }
    }
}

fn insert_run(transaction: &Transaction<'_>, run: &Run) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO run (project, started_ms, duration_ms, event, revision, exit_code) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            run.project,
            run.started.as_millisecond(),
            milliseconds(run.duration),
            run.event,
            run.revision,
            run.exit_code
        ],
    )?;
    let id = transaction.last_insert_rowid();
    run.services.iter().try_for_each(|service| insert_service(transaction, id, service))
}

fn insert_service(transaction: &Transaction<'_>, run: i64, service: &RunService) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO service (run, name, repository, digest, status, duration_ms, size, steps, cached_steps)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            run,
            service.name,
            service.repository.to_string(),
            service.digest.map(|digest| digest.to_string()),
            service.status.as_str(),
            milliseconds(service.duration),
            i64::try_from(service.size).unwrap_or(i64::MAX),
            service.steps,
            service.cached_steps,
        ],
    )?;
    let id = transaction.last_insert_rowid();
    service.suites.iter().try_for_each(|suite| insert_suite(transaction, id, suite))
}

fn insert_suite(transaction: &Transaction<'_>, service: i64, suite: &RunSuite) -> rusqlite::Result<()> {
    let values = params![service, suite.name, suite.status.as_str(), milliseconds(suite.duration)];
    let query = "INSERT INTO suite (service, name, status, duration_ms) VALUES (?1, ?2, ?3, ?4)";
    transaction.execute(query, values).map(drop)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn duration(row: &Row<'_>, column: &str) -> rusqlite::Result<Duration> {
    unsigned(row, row.as_ref().column_index(column)?).map(Duration::from_millis)
}

/// Reads what SQLite, which has signed integers only, keeps of an unsigned one.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn timestamp(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(row.get(column)?).map_err(|error| unreadable(row, column, error))
}

/// Reads a text that has a form of its own through that form's checking constructor.
fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn unreadable(row: &Row<'_>, column: &str, error: jiff::Error) -> rusqlite::Error {
    let index = row.as_ref().column_index(column).unwrap_or(0);
    rusqlite::Error::FromSqlConversionFailure(index, Type::Integer, Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ServiceStatus, SuiteStatus};

    fn run(event: &str, content: &str, status: ServiceStatus) -> Run {
        Run {
            project: "acme/shop".into(),
            started: Timestamp::from_millisecond(1_767_323_045_678).unwrap(),
            duration: Duration::from_millis(1234),
            event: event.into(),
            revision: "0123456789012345678901234567890123456789".into(),
            exit_code: 7,
            services: vec![
                service("api", Some(Digest::of(content.as_bytes())), status),
                service("web", None, ServiceStatus::Skipped),
            ],
        }
    }

    fn service(name: &str, digest: Option<Digest>, status: ServiceStatus) -> RunService {
        let suite =
            |name: &str, status| RunSuite { name: name.into(), status, duration: Duration::from_millis(15) };
        RunService {
            name: name.into(),
            repository: format!("registry.example/acme/{name}").parse().unwrap(),
            digest,
            status,
            duration: Duration::from_millis(999),
            size: 5 << 30,
            steps: 9,
            cached_steps: 8,
            suites: vec![suite("integration", SuiteStatus::Failed), suite("smoke", SuiteStatus::Passed)],
        }
    }

    fn empty() -> (tempfile::TempDir, Record) {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::open(&folder.path().join("record.sqlite")).unwrap();
        (folder, record)
    }

    #[test]
    fn gives_back_what_was_added_newest_first() {
        let (_folder, mut record) = empty();
        let runs =
            ["branch:main", "pr:42", "tag:v1.0.0"].map(|event| run(event, event, ServiceStatus::Built));
        for run in &runs {
            record.add_run(run).unwrap();
        }
        assert_eq!(record.runs(2).unwrap(), [runs[2].clone(), runs[1].clone()]);
        assert_eq!(record.runs(9).unwrap().len(), 3);
    }

    #[test]
    fn survives_being_opened_again() {
        let (folder, mut record) = empty();
        let first = run("branch:main", "1", ServiceStatus::Cached);
        record.add_run(&first).unwrap();
        drop(record);
        let again = Record::open(&folder.path().join("record.sqlite")).unwrap();
        assert_eq!(again.runs(9).unwrap(), [first]);
    }

    #[test]
    fn the_last_digest_is_that_of_the_last_run_that_did_not_fail() {
        let (_folder, mut record) = empty();
        record.add_run(&run("branch:main", "good", ServiceStatus::Built)).unwrap();
        record.add_run(&run("branch:main", "bad", ServiceStatus::Failed)).unwrap();
        record.add_run(&run("branch:other", "other", ServiceStatus::Built)).unwrap();
        let last = |event, service| record.last_digest("acme/shop", event, service).unwrap();
        assert_eq!(last("branch:main", "api"), Some(Digest::of(b"good")));
        assert_eq!(last("branch:other", "api"), Some(Digest::of(b"other")));
        assert_eq!(last("branch:main", "web"), None);
        assert_eq!(last("branch:none", "api"), None);
    }

    #[test]
    fn a_run_is_added_whole_or_not_at_all() {
        let (_folder, mut record) = empty();
        let mut twice = run("branch:main", "1", ServiceStatus::Built);
        twice.services.push(twice.services[0].clone());
        assert!(record.add_run(&twice).is_err());
        assert_eq!(record.runs(9).unwrap(), []);
    }

    #[test]
    fn a_newer_file_is_left_alone() {
        let (folder, record) = empty();
        record.connection.pragma_update(None, "user_version", 99).unwrap();
        drop(record);
        let error = Record::open(&folder.path().join("record.sqlite")).unwrap_err().to_string();
        assert!(error.ends_with("has version 99, newer than 1 that this program knows: update the program or move the file away"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.sqlite");
        std::fs::write(
            &path,
            "not a database, and long enough to be looked at as one by its first bytes".repeat(20),
        )
        .unwrap();
        let error = Record::open(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot open the record {}", path.display()));
    }

    #[test]
    fn a_word_from_elsewhere_is_an_error_not_a_guess() {
        let (_folder, mut record) = empty();
        record.add_run(&run("branch:main", "1", ServiceStatus::Built)).unwrap();
        record.connection.execute("UPDATE service SET status = 'perhaps'", []).unwrap();
        assert!(matches!(record.runs(1), Err(RecordError::Sqlite { action: "read", .. })));
    }

    #[test]
    fn two_processes_may_add_at_once() {
        let (folder, mut one) = empty();
        let mut two = Record::open(&folder.path().join("record.sqlite")).unwrap();
        std::thread::scope(|scope| {
            for record in [&mut one, &mut two] {
                scope.spawn(|| {
                    (0..20).for_each(|_| record.add_run(&run("pr:1", "x", ServiceStatus::Built)).unwrap())
                });
            }
        });
        assert_eq!(one.runs(100).unwrap().len(), 40);
    }
}
