//! The tables, and how a file of an earlier version becomes one of this.
//!
//! SQLite's `user_version` holds the number of migrations a file has seen. A migration that was
//! released is never changed; a new one is added at the end.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Every migration, oldest first.
const MIGRATIONS: &[&str] = &[
    // 1: runs, their services, their suites
    "CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        project TEXT NOT NULL,
        started_ms INTEGER NOT NULL,
        duration_ms INTEGER NOT NULL,
        event TEXT NOT NULL,
        revision TEXT NOT NULL,
        exit_code INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX run_by_project ON run (project, event);
    CREATE TABLE service (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        repository TEXT NOT NULL,
        digest TEXT,
        status TEXT NOT NULL,
        duration_ms INTEGER NOT NULL,
        size INTEGER NOT NULL,
        steps INTEGER NOT NULL,
        cached_steps INTEGER NOT NULL,
        UNIQUE (run, name)
    ) STRICT;
    CREATE TABLE suite (
        service INTEGER NOT NULL REFERENCES service (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        status TEXT NOT NULL,
        duration_ms INTEGER NOT NULL,
        PRIMARY KEY (service, name)
    ) STRICT, WITHOUT ROWID;",
];

/// The version that a file has after [`migrate`].
pub(crate) const VERSION: u32 = MIGRATIONS.len() as u32;

/// A file was written by a newer program.
pub(crate) struct TooNew {
    /// Its version.
    pub found: u32,
}

/// Brings the file to [`VERSION`], all or nothing; two processes may do it at once.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<Result<(), TooNew>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    if found > VERSION {
        return Ok(Err(TooNew { found }));
    }
    for migration in &MIGRATIONS[found as usize..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(Ok(()))
}

fn version(transaction: &Transaction<'_>) -> rusqlite::Result<u32> {
    transaction.pragma_query_value(None, "user_version", |row| row.get(0))
}
