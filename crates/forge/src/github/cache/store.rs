//! The service as a store: one cache by its name.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::store::children::{ChildKind, children};
use ::store::{Blob, BlobStore, CheckedReader, ImageStore, Put, Source, StoreError};
use bytes::Bytes;
use oci::{Descriptor, Digest, Document, Tag};
use registry::client::Told;

use super::CacheService;
use super::pack::{MAX_PACK_BYTES, Pack};
use super::service::{Entry, Place, unreadable};

/// Blobs up to this size are packed with the documents.
const SMALL_BYTES: u64 = 1 << 20;
/// So much is packed at most; more goes into entries of its own.
const PACKED_BYTES: u64 = 32 << 20;
/// How often a download that breaks off without a byte is gone on with.
const MAX_BREAKS: u32 = 3;

/// A cache of the service. It keeps what is small in memory until a tag is set.
#[derive(Clone, Debug)]
pub struct CiCache {
    service: CacheService,
    name: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    documents: HashMap<Digest, Document>,
    /// Content of blobs that came in a pack or will go in one.
    small: HashMap<Digest, Bytes>,
    small_bytes: u64,
    /// Sizes of entries that are known to be there.
    sizes: HashMap<Digest, u64>,
}

impl CiCache {
    pub(super) fn new(service: CacheService, name: &str) -> Self {
        Self { service, name: escaped(name), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one insertion, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what the keys of all entries of a tag begin with.
    fn prefix(&self, tag: &Tag) -> String {
        format!("plimsoll/{}@{tag}:", self.name)
    }

    fn what(&self, thing: &dyn std::fmt::Display) -> String {
        format!("{thing} in the CI cache {}", self.name)
    }

    fn no_list(&self, action: &str) -> StoreError {
        let reason = format!("the cache service of a CI host cannot {action}; entries go by its own rules");
        StoreError::Denied { what: format!("the CI cache {}", self.name), reason }
    }

    fn load(&self, entry: &Entry, what: &str) -> Result<Pack, StoreError> {
        let told = self.service.open(entry, 0, what)?;
        let mut raw = Vec::new();
        let read = told.take(MAX_PACK_BYTES + 1).read_to_end(&mut raw);
        read.map_err(|error| unreadable(what, error))?;
        if raw.len() as u64 > MAX_PACK_BYTES {
            let reason = format!("it has more than {MAX_PACK_BYTES} bytes");
            return Err(StoreError::Corrupt { what: what.to_owned(), reason });
        }
        Pack::decode(raw.into(), what)
    }

    /// Sends content as an entry of its own; nobody sees it unless it is right.
    fn send_large(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<Put, StoreError> {
        let key = blob_key(&descriptor.digest);
        let what = self.what(&format_args!("blob {}", descriptor.digest));
        let put = match self.service.create(&key)? {
            Place::Taken => Put::Present,
            Place::New(address) => {
                self.service.send(&address, content, descriptor.size, &what)?;
                self.service.finish(&key, descriptor.size)?;
                Put::Written
            }
        };
        self.state().sizes.insert(descriptor.digest, descriptor.size);
        Ok(put)
    }

    /// Returns what a tag's entry holds: the document, the documents it is made of, and those of
    /// their blobs that are small.
    ///
    /// # Errors
    /// `NotFound` where a part of it is nowhere.
    fn pack(&self, document: &Document) -> Result<Pack, StoreError> {
        let mut pack = Pack { documents: vec![document.clone()], parts: Vec::new() };
        let mut next = 0;
        while let Some(parent) = pack.documents.get(next).cloned() {
            next += 1;
            for child in children(&parent).iter().filter(|child| !child.optional) {
                let digest = child.descriptor.digest;
                let (known, small) = {
                    let state = self.state();
                    (state.documents.get(&digest).cloned(), state.small.get(&digest).cloned())
                };
                match (child.kind, known, small) {
                    (ChildKind::Document, Some(known), _) if !pack.documents.contains(&known) => {
                        pack.documents.push(known);
                    }
                    (ChildKind::Document, Some(_), _) => {}
                    (ChildKind::Blob, _, Some(content)) => {
                        if !pack.parts.iter().any(|(part, _)| *part == digest) {
                            pack.parts.push((digest, content));
                        }
                    }
                    _ if child.kind == ChildKind::Blob && self.blob_size(&digest)?.is_some() => {}
                    _ => {
                        let what = format!("{} {digest}", child.descriptor.media_type);
                        return Err(StoreError::NotFound { what: self.what(&what) });
                    }
                }
            }
        }
        Ok(pack)
    }
}

impl BlobStore for CiCache {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let known = {
            let state = self.state();
            state.small.get(digest).map(|content| content.len() as u64).or(state.sizes.get(digest).copied())
        };
        if known.is_some() {
            return Ok(known);
        }
        let Some(entry) = self.service.find_exact(&blob_key(digest))? else { return Ok(None) };
        let size = self.service.size(&entry, &self.what(&format_args!("blob {digest}")))?;
        if let Some(size) = size {
            self.state().sizes.insert(*digest, size);
        }
        Ok(size)
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        let small = self.state().small.get(digest).cloned();
        if let Some(content) = small {
            return Ok(Blob::verified(*digest, content.len() as u64, Source::Bytes(content)));
        }
        let what = self.what(&format_args!("blob {digest}"));
        let missing = || StoreError::NotFound { what: what.clone() };
        let entry = self.service.find_exact(&blob_key(digest))?.ok_or_else(missing)?;
        let told = self.service.open(&entry, 0, &what)?;
        let length = told.header("content-length").and_then(|text| text.parse().ok());
        let size: u64 = length.ok_or_else(|| StoreError::Corrupt {
            what: what.clone(),
            reason: "the answer does not say how long it is".to_owned(),
        })?;
        let download = Download {
            service: self.service.clone(),
            entry,
            what,
            told: Some(told),
            offset: 0,
            size,
            breaks: 0,
        };
        Ok(Blob::checked(*digest, size, download))
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        let (digest, size) = (descriptor.digest, descriptor.size);
        let what = self.what(&format_args!("blob {digest}"));
        if content.size() != size {
            let reason = format!("expected {size} bytes, found {}", content.size());
            return Err(StoreError::Corrupt { what, reason });
        }
        if self.state().small.contains_key(&digest) || self.state().sizes.contains_key(&digest) {
            return Ok(Put::Present);
        }
        let mut reader: Box<dyn Read> = match content.verified_as() == Some(digest) {
            true => Box::new(content),
            false => Box::new(CheckedReader::new(content, digest, size)),
        };
        if size > SMALL_BYTES || self.state().small_bytes + size > PACKED_BYTES {
            return self.send_large(descriptor, &mut reader);
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| unreadable(&what, error))?;
        let mut state = self.state();
        state.small_bytes += size;
        state.small.insert(digest, bytes.into());
        Ok(Put::Written)
    }
}

impl ImageStore for CiCache {
    /// Returns what the newest entry of the tag holds, by the scopes of the job's branch.
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        let what = self.what(&format_args!("tag {tag}"));
        let missing = || StoreError::NotFound { what: what.clone() };
        let entry = self.service.find_newest(&self.prefix(tag))?.ok_or_else(missing)?;
        let pack = self.load(&entry, &what)?;
        let tagged = pack.documents.first().map(|document| document.descriptor().clone());
        let mut state = self.state();
        state.documents.extend(pack.documents.into_iter().map(|document| (document.digest(), document)));
        // What came in one pack fits into one: it is not counted again.
        state.small.extend(pack.parts);
        tagged.ok_or_else(missing)
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        let found = self.state().documents.get(digest).cloned();
        found.ok_or_else(|| StoreError::NotFound { what: self.what(&format_args!("manifest {digest}")) })
    }

    /// Keeps the document for the tag that will name it: only tags are found.
    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        self.state().documents.insert(document.digest(), document.clone());
        Ok(())
    }

    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.put_document(document)?;
        let packed = self.pack(document)?.encode();
        if packed.len() as u64 > MAX_PACK_BYTES {
            return Err(self.no_list("hold so many documents in one entry"));
        }
        let hex = document.digest().hex();
        let key = format!("{}{}-{}", self.prefix(tag), self.service.run, &hex[..16]);
        let what = self.what(&format_args!("tag {tag}"));
        match self.service.create(&key)? {
            // This very run wrote this very content.
            Place::Taken => Ok(()),
            Place::New(address) => {
                let size = packed.len() as u64;
                self.service.send(&address, &mut &packed[..], size, &what)?;
                self.service.finish(&key, size)
            }
        }
    }

    fn untag(&self, _tag: &Tag) -> Result<(), StoreError> {
        Err(self.no_list("take a tag away"))
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        Err(self.no_list("list what it has"))
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        let state = self.state();
        let about = |document: &&Document| ::store::referrer::is_about(document, subject);
        let mut found: Vec<Descriptor> =
            state.documents.values().filter(about).map(::store::referrer::describe).collect();
        found.sort_by_key(|descriptor| descriptor.digest);
        Ok(found)
    }

    fn delete_document(&self, _digest: &Digest) -> Result<(), StoreError> {
        Err(self.no_list("remove anything"))
    }
}

/// The content of an entry; what breaks off is gone on with from there.
struct Download {
    service: CacheService,
    entry: Entry,
    what: String,
    told: Option<Told>,
    offset: u64,
    size: u64,
    breaks: u32,
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.told.is_none() {
                let again = self.service.open(&self.entry, self.offset, &self.what);
                self.told = Some(again.map_err(io::Error::other)?);
            }
            let read = self.told.as_mut().map_or(Ok(0), |told| told.read(buffer));
            match read {
                Ok(0) if self.offset < self.size && !buffer.is_empty() && self.breaks < MAX_BREAKS => {}
                Ok(count) => {
                    self.offset += count as u64;
                    self.breaks = if count > 0 { 0 } else { self.breaks };
                    return Ok(count);
                }
                Err(_) if self.breaks < MAX_BREAKS => {}
                Err(error) => return Err(error),
            }
            self.breaks += 1;
            self.told = None;
        }
    }
}

fn blob_key(digest: &Digest) -> String {
    format!("plimsoll/blob/{}-{}", digest.algorithm().as_str(), digest.hex())
}

/// Returns a name without what ends a name in a key, or is refused there; a long one is cut and
/// made unmistakable by its digest.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' => {
                text.push(char::from(byte))
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    if text.len() <= 200 {
        return text;
    }
    text.truncate(160);
    format!("{text}%{}", &Digest::of(name.as_bytes()).hex()[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_be_mistaken_for_each_other() {
        assert_eq!(escaped("feature/x"), "feature/x");
        assert_eq!(escaped("a@b:c,d é"), "a%40b%3Ac%2Cd%20%C3%A9");
        let [one, two] = ["x".repeat(300), "x".repeat(301)].map(|name| escaped(&name));
        assert!(one != two && one.len() <= 200, "{one}");
    }
}
