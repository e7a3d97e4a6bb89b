//! What happened, kept, and questions asked of it.
//!
//! A [`Record`] is one SQLite file beside the image store. It may be thrown away: nothing the
//! product promises depends on it, and what it knows about images can be read from the registry
//! again. The shape of a run ([`Run`]) is this crate's own, so that the ledger can change without a
//! migration and the other way round.

mod migration;
mod run;
mod sqlite;

pub use run::{Run, RunService, RunSuite, ServiceStatus, SuiteStatus, UnknownStatus};
pub use sqlite::{Record, RecordError};
