//! The three calls of the service, and content at the addresses that it hands out.

use std::io::Read;

use ::store::StoreError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use oci::Digest;
use registry::client::{Ask, Failure, Told};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{CacheService, FORMAT, unreachable};

const SERVICE: &str = "twirp/github.actions.results.api.v1.CacheService";
/// The longest answer of a call.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// Content up to this size goes in one request, larger content in blocks of it.
const BLOCK_BYTES: usize = 8 << 20;

#[derive(Serialize)]
struct Create<'a> {
    key: &'a str,
    version: &'a str,
}

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedUploadUrl")]
    signed_upload_url: String,
    #[serde(default)]
    message: String,
}

#[derive(Serialize)]
struct Finish<'a> {
    key: &'a str,
    version: &'a str,
    /// A 64-bit number is a string in this form of JSON.
    size_bytes: String,
}

#[derive(Deserialize)]
struct Finished {
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    message: String,
}

#[derive(Serialize)]
struct Find<'a> {
    key: &'a str,
    restore_keys: &'a [&'a str],
    version: &'a str,
}

#[derive(Deserialize)]
struct FoundEntry {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedDownloadUrl")]
    signed_download_url: String,
    #[serde(default, alias = "matchedKey")]
    matched_key: String,
}

/// An entry that can be read.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where its content is for some minutes; holds a signature.
    pub address: String,
}

/// Whether an entry can be written.
#[derive(Debug)]
pub(super) enum Place {
    /// Content goes to this address; it holds a signature.
    New(String),
    /// There is one with this key already.
    Taken,
}

impl CacheService {
    /// Returns where the content of a new entry goes.
    pub(super) fn create(&self, key: &str) -> Result<Place, StoreError> {
        let what = format!("cache entry {key}");
        let version = version();
        let told = self.call("CreateCacheEntry", &Create { key, version: &version }, &what)?;
        if told.code() == 409 {
            return Ok(Place::Taken);
        }
        let created: Created = read(told, "write", &what)?;
        match created {
            Created { ok: true, signed_upload_url, .. } if !signed_upload_url.is_empty() => {
                Ok(Place::New(signed_upload_url))
            }
            Created { message, .. } if message.contains("already exists") => Ok(Place::Taken),
            Created { message, .. } => Err(StoreError::Denied { what, reason: said(&message) }),
        }
    }

    /// Makes what was sent the entry's content.
    pub(super) fn finish(&self, key: &str, size: u64) -> Result<(), StoreError> {
        let what = format!("cache entry {key}");
        let version = version();
        let arguments = Finish { key, version: &version, size_bytes: size.to_string() };
        let told = self.call("FinalizeCacheEntryUpload", &arguments, &what)?;
        let finished: Finished = read(told, "write", &what)?;
        match finished.ok {
            true => Ok(()),
            false => Err(StoreError::Denied { what, reason: said(&finished.message) }),
        }
    }

    /// Returns the entry with this very key.
    pub(super) fn find_exact(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.find_entry(key, &[])?.filter(|(_, matched)| matched == key).map(|(entry, _)| entry))
    }

    /// Returns the newest entry whose key begins with `prefix`.
    pub(super) fn find_newest(&self, prefix: &str) -> Result<Option<Entry>, StoreError> {
        let found = self.find_entry(prefix, &[prefix])?;
        Ok(found.filter(|(_, matched)| matched.starts_with(prefix)).map(|(entry, _)| entry))
    }

    fn find_entry(&self, key: &str, restore_keys: &[&str]) -> Result<Option<(Entry, String)>, StoreError> {
        let what = format!("cache entry {key}");
        let version = version();
        let arguments = Find { key, restore_keys, version: &version };
        let told = self.call("GetCacheEntryDownloadURL", &arguments, &what)?;
        if told.code() == 404 {
            return Ok(None);
        }
        let found: FoundEntry = read(told, "read", &what)?;
        let is_there = found.ok && !found.signed_download_url.is_empty();
        Ok(is_there.then_some((Entry { address: found.signed_download_url }, found.matched_key)))
    }

    fn call(&self, method: &str, arguments: &impl Serialize, what: &str) -> Result<Told, StoreError> {
        let body = serde_json::to_vec(arguments).expect("arguments are strings");
        let address = format!("{}{SERVICE}/{method}", self.address);
        let ask = Ask::new("POST", &address, format!("{method} of {what}"))
            .and_then(|ask| ask.with("authorization", &format!("Bearer {}", self.token)))
            .and_then(|ask| ask.with("content-type", "application/json"));
        let ask = ask.map_err(|failure| unreachable("reach", what, failure))?.sending(body);
        self.client.ask(&ask).map_err(|failure| unreachable("reach", what, failure))
    }

    /// Sends `size` bytes of `content` to the address of a new entry, in blocks where they are many.
    pub(super) fn send(
        &self,
        address: &str,
        content: &mut dyn Read,
        size: u64,
        what: &str,
    ) -> Result<(), StoreError> {
        let mut left = size;
        let mut next = || -> Result<Bytes, StoreError> {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES);
            let mut block = vec![0; length];
            content.read_exact(&mut block).map_err(|error| unreadable(what, error))?;
            left -= length as u64;
            Ok(block.into())
        };
        if size <= BLOCK_BYTES as u64 {
            let block = next()?;
            return self.put(address, "", block, what);
        }
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for number in 0..size.div_ceil(BLOCK_BYTES as u64) {
            // All names of blocks have one length.
            let name = BASE64.encode(format!("{number:08}"));
            let block = next()?;
            self.put(address, &format!("comp=block&blockid={}", name.replace('=', "%3D")), block, what)?;
            list.push_str(&format!("<Latest>{name}</Latest>"));
        }
        list.push_str("</BlockList>");
        self.put(address, "comp=blocklist", list.into(), what)
    }

    fn put(&self, address: &str, query: &str, content: Bytes, what: &str) -> Result<(), StoreError> {
        let join = if query.is_empty() {
            ""
        } else if address.contains('?') {
            "&"
        } else {
            "?"
        };
        let address = format!("{address}{join}{query}");
        let ask = Ask::new("PUT", &address, format!("upload of {what}"))
            .and_then(|ask| ask.with("x-ms-blob-type", "BlockBlob"))
            .and_then(|ask| ask.with("content-type", "application/octet-stream"))
            .map_err(|failure| unreachable("write", what, failure))?;
        let told = self.client.ask(&ask.sending(content));
        let told = told.map_err(|failure| unreachable("write", what, failure))?;
        match told.code() {
            200 | 201 => Ok(()),
            _ => Err(refused(told, "write", what)),
        }
    }

    /// Returns the size of an entry's content in bytes; `None` where it is gone.
    pub(super) fn size(&self, entry: &Entry, what: &str) -> Result<Option<u64>, StoreError> {
        let told = self.ask_content("HEAD", &entry.address, 0, what)?;
        match told.code() {
            404 => Ok(None),
            200 | 206 => Ok(told.header("content-length").and_then(|text| text.parse().ok())),
            _ => Err(refused(told, "read", what)),
        }
    }

    /// Opens an entry's content from `offset` on.
    pub(super) fn open(&self, entry: &Entry, offset: u64, what: &str) -> Result<Told, StoreError> {
        let told = self.ask_content("GET", &entry.address, offset, what)?;
        match (told.code(), offset) {
            (200, 0) | (206, _) => Ok(told),
            (404, _) => Err(StoreError::NotFound { what: what.to_owned() }),
            _ => Err(refused(told, "read", what)),
        }
    }

    fn ask_content(&self, method: &str, address: &str, offset: u64, what: &str) -> Result<Told, StoreError> {
        let ask = Ask::new(method, address, format!("download of {what}")).and_then(|ask| match offset {
            0 => Ok(ask),
            offset => ask.with("range", &format!("bytes={offset}-")),
        });
        let ask = ask.map_err(|failure| unreachable("read", what, failure))?;
        self.client.ask(&ask).map_err(|failure| unreachable("read", what, failure))
    }
}

/// Returns the version that keeps our entries apart from other programs'.
fn version() -> String {
    Digest::of(FORMAT.as_bytes()).hex()
}

fn read<T: DeserializeOwned>(told: Told, action: &'static str, what: &str) -> Result<T, StoreError> {
    if told.code() != 200 {
        return Err(refused(told, action, what));
    }
    let body = told.all(MAX_ANSWER_BYTES).map_err(|failure: Failure| unreachable(action, what, failure))?;
    serde_json::from_slice(&body).map_err(|error| StoreError::Corrupt {
        what: what.to_owned(),
        reason: format!("the cache service does not answer in JSON that is known: {error}"),
    })
}

/// Returns the error of an answer that is none of the expected ones.
fn refused(told: Told, action: &'static str, what: &str) -> StoreError {
    let (code, what) = (told.code(), what.to_owned());
    let words = told.all(64 << 10).map(|body| String::from_utf8_lossy(&body).into_owned());
    let words: String = words.unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
    let reason = format!("status {code}: {words}");
    match code {
        401 | 403 => {
            StoreError::Denied { what, reason: format!("{reason}; the job's token may not do that") }
        }
        _ => StoreError::Unreachable { action, what, transient: false, source: reason.into() },
    }
}

pub(super) fn unreadable(what: &str, error: std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::InvalidData => {
            StoreError::Corrupt { what: what.to_owned(), reason: error.to_string() }
        }
        _ => StoreError::io("read", format!("the content of {what}"), error),
    }
}

fn said(message: &str) -> String {
    match message {
        "" => "the cache service gives no reason".to_owned(),
        words => words.chars().take(200).collect(),
    }
}
