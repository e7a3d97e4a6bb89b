//! What a definition may ask of the world; all of it is handed in.

use std::cell::Cell;
use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

/// The surroundings in which a definition is read.
pub struct World<'a> {
    /// The environment: values for variables of the definition.
    pub environment: &'a BTreeMap<String, String>,
    /// Values given on the command line; they win over the environment.
    pub given: &'a BTreeMap<String, String>,
    /// The moment that `timestamp()` returns.
    pub now: jiff::Timestamp,
    /// Random bytes from which `uuidv4()` takes.
    pub seed: [u8; 16],
    /// The home folder, where there is one.
    pub home: Option<String>,
    /// This machine's platform, such as `linux/amd64`.
    pub platform: String,
    /// How many random values were taken; starts with 0.
    pub taken: Cell<u64>,
    /// Reads a file that a compose file names (`.env`, `env_file`, `include`, `extends`), from the
    /// folder in which the definition is used.
    pub files: &'a dyn Fn(&str) -> std::io::Result<String>,
}

impl World<'_> {
    /// Returns the value that the command line or the environment gives a variable.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.given.get(name).or_else(|| self.environment.get(name)).map(String::as_str)
    }

    /// Returns sixteen bytes that no earlier call returned.
    pub(super) fn random(&self) -> [u8; 16] {
        self.taken.set(self.taken.get() + 1);
        let hash =
            Sha256::new().chain_update(self.seed).chain_update(self.taken.get().to_be_bytes()).finalize();
        hash[..16].try_into().expect("a SHA-256 has 32 bytes")
    }
}
