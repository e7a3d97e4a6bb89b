//! Letting go of what nobody asks for any more, least recently used first.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use oci::Digest;
use store::{ImageStore as _, StoreError, UsedDocument};

use super::{Proxy, ProxyOptions};

impl Proxy {
    /// Removes manifests that were not asked for too long, or for which there is no room; the
    /// collection that follows removes what belongs to none. Returns how many went.
    ///
    /// # Errors
    /// Those of the store.
    pub fn evict(&self) -> Result<u64, StoreError> {
        if self.options.max_idle.is_none() && self.options.max_bytes.is_none() {
            return Ok(0);
        }
        let documents = self.store.documents_by_use(&|name| self.client_name(name).is_some())?;
        let mut count = 0;
        for document in leaving(&documents, &self.options) {
            match self.view(&document.repository).delete_document(&document.digest) {
                // Gone already.
                Err(StoreError::NotFound { .. }) => {}
                deleted => {
                    deleted?;
                    count += 1;
                }
            }
        }
        self.counts.evicted.fetch_add(count, Relaxed);
        Ok(count)
    }
}

/// Returns which manifests go; they come with those asked for last first. Parts that several of them
/// have count once.
fn leaving<'a>(documents: &'a [UsedDocument], options: &ProxyOptions) -> Vec<&'a UsedDocument> {
    let mut held: HashSet<Digest> = HashSet::new();
    let mut bytes: u64 = 0;
    let mut goes = |document: &&UsedDocument| {
        let is_idle = options.max_idle.is_some_and(|limit| document.idle > limit);
        let new = document.parts.iter().filter(|(digest, _)| !held.contains(digest));
        let more: u64 = new.map(|(_, size)| size).sum();
        if is_idle || options.max_bytes.is_some_and(|limit| bytes.saturating_add(more) > limit) {
            return true;
        }
        bytes += more;
        held.extend(document.parts.iter().map(|(digest, _)| *digest));
        false
    };
    documents.iter().filter(|document| goes(document)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::client::{Client, ClientOptions, Clock};

    fn document(name: &str, idle: u64, parts: &[(&str, u64)]) -> UsedDocument {
        let parts = parts.iter().map(|(name, size)| (Digest::of(name.as_bytes()), *size)).collect();
        UsedDocument {
            repository: format!("docker.io/library/{name}").parse().unwrap(),
            digest: Digest::of(name.as_bytes()),
            idle: Duration::from_secs(idle),
            parts,
        }
    }

    #[track_caller]
    fn check(max_idle: Option<u64>, max_bytes: Option<u64>, expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::new(|| jiff::Timestamp::UNIX_EPOCH);
        let options = ProxyOptions {
            upstreams: Vec::new(),
            client: Client::new(ClientOptions::new(clock, folder.path())).unwrap(),
            max_age: Duration::ZERO,
            max_idle: max_idle.map(Duration::from_secs),
            max_bytes,
            report: Arc::new(|_| {}),
        };
        let documents = [
            document("new", 1, &[("base", 100), ("n", 10)]),
            document("middle", 50, &[("base", 100), ("m", 10)]),
            document("large", 60, &[("l", 1000)]),
            document("old", 99, &[("o", 5)]),
        ];
        let gone = leaving(&documents, &options);
        let gone: Vec<&str> =
            gone.iter().map(|one| one.repository.path().trim_start_matches("library/")).collect();
        assert_eq!(gone, expected);
    }

    #[test]
    fn what_goes() {
        check(None, None, &[]);
        check(Some(98), None, &["old"]);
        check(Some(50), None, &["large", "old"]);
        check(None, Some(125), &["large"]);
        check(None, Some(120), &["large", "old"]);
        check(None, Some(115), &["middle", "large"]);
        check(Some(70), Some(115), &["middle", "large", "old"]);
        check(None, Some(0), &["new", "middle", "large", "old"]);
    }
}
