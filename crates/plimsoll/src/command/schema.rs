//! `schema`: the JSON Schema of the documents that people and jobs write and read.

use clap::ValueEnum;

use crate::error::Error;
use crate::session::Session;

/// Prints the JSON Schema of a document
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll schema config > plimsoll.schema.json
  $ plimsoll schema ledger")]
pub struct Arguments {
    /// The document
    document: Document,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Document {
    /// plimsoll.toml
    Config,
    /// What `plan --format json` prints
    Plan,
    /// What a run leaves in .plimsoll/ledger.json
    Ledger,
}

impl Arguments {
    /// Prints the schema; it is JSON in either format.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let schema = match self.document {
            Document::Config => pipeline::configuration::schema(),
            Document::Plan => pipeline::plan::schema(),
            Document::Ledger => pipeline::ledger::schema(),
        };
        let text = serde_json::to_string_pretty(&schema).expect("a schema has only string keys");
        session.ui.text(text)
    }
}
