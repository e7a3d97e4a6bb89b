//! Looks for the secrets of a step in the files of its layer while that is written: whoever has the image would
//! have them.
//!
//! What is sought is a secret's whole value without the white space around it, of a long one the beginning.
//! Values of fewer than eight bytes are in too many files to mean anything.

use layer::Entry;
use layer::observe::Tap;
use regex::bytes::{Regex, RegexBuilder};

/// Shortest value that is sought.
const FEWEST_BYTES: usize = 8;
/// How much of a long value is sought.
const MOST_BYTES: usize = 1024;
/// Most values that are sought in one step.
const MOST_SECRETS: usize = 32;
/// Most files that are told.
const MOST_FOUND: usize = 5;

/// Sees a layer stream by.
pub(crate) struct SecretSearch {
    ids: Vec<String>,
    pattern: Regex,
    longest: usize,
    /// The end of what of the current file came before.
    before: Vec<u8>,
    /// The secret that the current file holds.
    held: Option<usize>,
    found: Vec<(String, String)>,
}

impl SecretSearch {
    /// Returns a search for `secrets`, by id; `None` where there is nothing to seek.
    pub fn new<'a>(secrets: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<Self> {
        let sought: Vec<(&str, &[u8])> = secrets
            .map(|(id, value)| (id, value.trim_ascii()))
            .filter(|(_, value)| value.len() >= FEWEST_BYTES)
            .map(|(id, value)| (id, &value[..value.len().min(MOST_BYTES)]))
            .take(MOST_SECRETS)
            .collect();
        let longest = sought.iter().map(|(_, value)| value.len()).max()?;
        let literal = |value: &[u8]| value.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let groups: Vec<String> = sought.iter().map(|(_, value)| format!("({})", literal(value))).collect();
        let pattern =
            RegexBuilder::new(&groups.join("|")).unicode(false).size_limit(64 << 20).build().ok()?;
        let ids = sought.iter().map(|(id, _)| (*id).to_owned()).collect();
        Some(Self { ids, pattern, longest, before: Vec::new(), held: None, found: Vec::new() })
    }

    /// Returns the files that hold a secret, each with the secret's id.
    pub fn found(self) -> Vec<(String, String)> {
        self.found
    }

    fn search(&self, bytes: &[u8]) -> Option<usize> {
        let captures = self.pattern.captures(bytes)?;
        (0..self.ids.len()).find(|index| captures.get(index + 1).is_some())
    }
}

impl Tap for SecretSearch {
    fn entry(&mut self, _: &Entry) {
        self.before.clear();
        self.held = None;
    }

    fn data(&mut self, bytes: &[u8]) {
        if self.held.is_some() || self.found.len() >= MOST_FOUND {
            return;
        }
        // A value may lie across two pieces: the seam is looked at, then the piece itself.
        let seam = [&self.before[..], &bytes[..bytes.len().min(self.longest - 1)]].concat();
        self.held = self.search(&seam).or_else(|| self.search(bytes));
        let kept = self.longest - 1;
        match bytes.len() >= kept {
            true => self.before = bytes[bytes.len() - kept..].to_vec(),
            false => {
                self.before.extend_from_slice(bytes);
                let surplus = self.before.len().saturating_sub(kept);
                self.before.drain(..surplus);
            }
        }
    }

    fn end_entry(&mut self, entry: &Entry) {
        if let Some(index) = self.held.take() {
            let path = format!("/{}", String::from_utf8_lossy(&entry.path));
            self.found.push((path, self.ids[index].clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(secrets: &[(&str, &[u8])]) -> Option<SecretSearch> {
        SecretSearch::new(secrets.iter().copied())
    }

    /// Whether the file that comes in these pieces is found to hold the secret.
    fn holds(pieces: &[&[u8]]) -> bool {
        let mut search = search(&[("other", b"something else"), ("token", b"\xffs3cr3t-v4lue\n")]).unwrap();
        let entry = Entry {
            path: b"etc/token".to_vec(),
            kind: layer::Kind::File { size: 0, digest: None, offset: 0 },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: std::collections::BTreeMap::new(),
        };
        search.entry(&entry);
        pieces.iter().for_each(|piece| search.data(piece));
        search.end_entry(&entry);
        match &search.found()[..] {
            [] => false,
            [(path, id)] => path == "/etc/token" && id == "token",
            _ => panic!("one file"),
        }
    }

    #[test]
    fn a_secret_is_found_wherever_the_pieces_end() {
        let whole = b"before\xffs3cr3t-v4lueafter".as_slice();
        assert!(holds(&[whole]));
        for at in 0..whole.len() {
            assert!(holds(&[&whole[..at], &whole[at..]]), "{at}");
        }
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        assert!(holds(&single));
        assert!(!holds(&[b"before\xffs3cr3t", b"-v5lue after"]));
    }

    #[test]
    fn short_values_are_not_sought() {
        assert!(search(&[("pin", b"1234\n")]).is_none());
        assert!(search(&[]).is_none());
    }
}
