//! Names and passwords of an htpasswd file. Source: Apache's htpasswd(1), bcrypt entries.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci::Digest;

/// How long a password that was right is taken to be right, so that the deliberately slow check is
/// not made for each request of a push.
const REMEMBERED: Duration = Duration::from_secs(120);
/// How many checked passwords are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// Longer passwords are wrong; bcrypt looks at 72 bytes and would accept what follows unseen.
const MAX_PASSWORD_BYTES: usize = 72;
/// The costs that are taken: below is broken, above would let one request keep a processor busy.
const COSTS: std::ops::RangeInclusive<u32> = 4..=15;

/// A line of an htpasswd file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct InvalidAccounts {
    /// Which line, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// Names with the bcrypt hashes of their passwords.
pub struct Accounts {
    hashes: HashMap<String, String>,
    /// Hashes of names and passwords that were right lately.
    right: Mutex<HashMap<Digest, Instant>>,
    /// Mixed into what is remembered, so that nothing of it can be looked up in a table.
    salt: [u8; 16],
    /// What is checked for names that do not exist, so that they cannot be told apart by time.
    decoy: String,
}

impl Accounts {
    /// Reads the text of an htpasswd file.
    ///
    /// # Errors
    /// A line that is neither a comment nor `NAME:BCRYPT`.
    pub fn parse(text: &str) -> Result<Self, InvalidAccounts> {
        let hashes = parse(text)?;
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)
            .map_err(|error| InvalidAccounts { line: 0, reason: format!("no random numbers: {error}") })?;
        let decoy = hashes.values().next().cloned().unwrap_or_default();
        Ok(Self { hashes, right: Mutex::default(), salt, decoy })
    }

    /// Whether this name and password were right lately.
    pub(super) fn remembers(&self, name: &str, password: &str) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.get(&self.key(name, password)).is_some_and(|since| since.elapsed() < REMEMBERED)
    }

    /// Whether there is an account of this name with this password. Takes long, on purpose.
    pub(super) fn check(&self, name: &str, password: &str) -> bool {
        if password.len() > MAX_PASSWORD_BYTES {
            return false;
        }
        let hash = self.hashes.get(name);
        let exists = hash.is_some();
        let fits = bcrypt::verify(password, hash.unwrap_or(&self.decoy)).unwrap_or(false);
        let right = fits && exists;
        if right {
            let mut remembered = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(self.key(name, password), Instant::now());
        }
        right
    }

    fn key(&self, name: &str, password: &str) -> Digest {
        let mut content = self.salt.to_vec();
        content.extend_from_slice(name.as_bytes());
        content.push(0);
        content.extend_from_slice(password.as_bytes());
        Digest::of(&content)
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Accounts")
    }
}

fn parse(text: &str) -> Result<HashMap<String, String>, InvalidAccounts> {
    let mut hashes = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let refuse = |reason: &str| InvalidAccounts { line: number + 1, reason: reason.to_owned() };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, hash) = line.split_once(':').ok_or_else(|| refuse("it is not NAME:HASH"))?;
        if name.is_empty() || name == super::ANONYMOUS || name.contains(['*', '?']) {
            return Err(refuse("this name cannot be given to an account"));
        }
        if !hash.starts_with("$2") {
            return Err(refuse("the hash is not bcrypt's; make it with htpasswd -B"));
        }
        let parts: bcrypt::HashParts = hash.parse().map_err(|_| refuse("the bcrypt hash is broken"))?;
        if !COSTS.contains(&parts.get_cost()) {
            return Err(refuse("the cost of the bcrypt hash is not from 4 to 15"));
        }
        if hashes.insert(name.to_owned(), hash.to_owned()).is_some() {
            return Err(refuse("the account is there already"));
        }
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `htpasswd -nbB -C 4 ann secret`
    fn line(name: &str) -> String {
        format!(
            "{name}:{}",
            bcrypt::hash_with_result("secret", 4).unwrap().format_for_version(bcrypt::Version::TwoY)
        )
    }

    #[test]
    fn right_and_wrong_passwords() {
        let accounts = Accounts::parse(&format!("# people\n\n{}\n", line("ann"))).unwrap();
        assert!(!accounts.remembers("ann", "secret"));
        for _ in 0..2 {
            assert!(accounts.check("ann", "secret"));
            assert!(accounts.remembers("ann", "secret") && !accounts.remembers("ann", "Secret"));
            assert!(!accounts.check("ann", "Secret"));
            assert!(!accounts.check("bob", "secret"));
            assert!(!accounts.check("ann", &"x".repeat(100)));
        }
    }

    #[test]
    fn lines_that_cannot_be_used() {
        let refused = |text: &str| Accounts::parse(text).unwrap_err().to_string();
        assert_eq!(refused("\nann"), "line 2: it is not NAME:HASH");
        assert!(refused("ann:$apr1$x$y").contains("htpasswd -B"));
        assert!(refused("ann:$2y$zz").contains("broken"));
        assert!(refused(&line("anonymous")).contains("name"));
        assert!(refused(&format!("{}\n{}", line("a"), line("a"))).contains("line 2"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = Accounts::parse(&text);
            let _ = Accounts::parse(&format!("a:$2y${text}"));
        }
    }
}
