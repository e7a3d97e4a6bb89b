//! The cache service of GitHub Actions in this process: three calls over HTTP, and a place for content
//! in the manner of Azure's block blobs. It knows scopes, never changes an entry, and fails when told.
//!
//! Source: actions/toolkit, packages/cache; Azure Storage, "Put Blob", "Put Block", "Put Block List".

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

const SERVICE: &str = "/twirp/github.actions.results.api.v1.CacheService/";
/// The token that a job has.
pub const TOKEN: &str = "job-token";

/// The running service; it ends with the process.
pub struct CacheServiceFake {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    /// Whose entries a job finds, its own first, where it also writes.
    scopes: Vec<String>,
    may_write: bool,
    failures: Vec<Failure>,
    lines: Vec<String>,
}

struct Entry {
    key: String,
    version: String,
    scope: String,
    content: Vec<u8>,
    blocks: HashMap<String, Vec<u8>>,
    is_done: bool,
}

/// An answer instead of the right one.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the line of the request contains.
    pub of: &'static str,
    /// The status.
    pub status: u16,
    /// A header line, may be empty.
    pub header: &'static str,
}

struct Asked {
    method: String,
    path: String,
    range_from: Option<usize>,
    is_ours: bool,
    body: Vec<u8>,
}

impl CacheServiceFake {
    /// Starts a service for a job whose entries are of the scope `main`.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let state = State { scopes: vec!["main".to_owned()], may_write: true, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let (shared, base) = (state.clone(), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, base) = (shared.clone(), base.clone());
                std::thread::spawn(move || serve(stream, &state, &base));
            }
        });
        Self { address, state }
    }

    /// Returns what stands in `ACTIONS_RESULTS_URL`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Has the following requests made by a job that finds the entries of these scopes, its own first.
    pub fn act_as(&self, scopes: &[&str], may_write: bool) {
        let mut state = self.lock();
        state.scopes = scopes.iter().map(ToString::to_string).collect();
        state.may_write = may_write;
    }

    /// Has the next request whose line contains `of` fail.
    pub fn fail_next(&self, failure: Failure) {
        self.lock().failures.push(failure);
    }

    /// Returns the keys of all entries that are complete, oldest first.
    pub fn keys(&self) -> Vec<String> {
        self.lock().entries.iter().filter(|entry| entry.is_done).map(|entry| entry.key.clone()).collect()
    }

    /// Returns the lines of all requests.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// Changes the content of the entries whose key contains `part`.
    pub fn spoil(&self, part: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.lock();
        state
            .entries
            .iter_mut()
            .filter(|entry| entry.key.contains(part))
            .for_each(|entry| change(&mut entry.content));
    }

    /// Takes away the entries whose key contains `part`, as the service does with old ones.
    pub fn evict(&self, part: &str) {
        self.lock().entries.retain(|entry| !entry.key.contains(part));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, base: &str) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, header, body) = answer(&mut state, &asked, base);
        drop(state);
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{header}\r\n", body.len());
        let body = if asked.method == "HEAD" { &[][..] } else { &body };
        let stream = reader.get_mut();
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut length, mut range_from, mut is_ours) = (0, None, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", value) => length = value.parse().ok()?,
            ("authorization", value) => is_ours = value == format!("Bearer {TOKEN}"),
            ("range", value) => range_from = value.strip_prefix("bytes=")?.split('-').next()?.parse().ok(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, path, range_from, is_ours, body })
}

type Answer = (u16, String, Vec<u8>);

fn answer(state: &mut State, asked: &Asked, base: &str) -> Answer {
    let line = format!("{} {}", asked.method, asked.path);
    state.lines.push(line.clone());
    if let Some(number) = state.failures.iter().position(|failure| line.contains(failure.of)) {
        let Failure { status, header, .. } = state.failures.remove(number);
        let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        return (status, header, br#"{"code":"failed","msg":"as it was told to"}"#.to_vec());
    }
    match asked.path.strip_prefix(SERVICE) {
        Some(_) if !asked.is_ours => error(401, "unauthenticated"),
        Some(call) => match serde_json::from_slice(&asked.body) {
            Ok(arguments) => answer_call(state, call, &arguments, base),
            Err(_) => error(400, "malformed"),
        },
        None => answer_content(state, asked).unwrap_or_else(|| error(404, "BlobNotFound")),
    }
}

fn answer_call(state: &mut State, call: &str, arguments: &Value, base: &str) -> Answer {
    let text = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
    let (key, version) = (text("key"), text("version"));
    let own = state.scopes[0].clone();
    let is_own = |entry: &Entry| entry.key == key && entry.version == version && entry.scope == own;
    match call {
        "CreateCacheEntry" if !state.may_write => {
            error(403, "cache write denied: token has no writable scopes")
        }
        "CreateCacheEntry" if key.len() > 512 || key.contains(',') => error(400, "key is invalid"),
        "CreateCacheEntry" if state.entries.iter().any(is_own) => error(409, "already exists"),
        "CreateCacheEntry" => {
            let number = state.entries.len();
            let (content, blocks) = (Vec::new(), HashMap::new());
            state.entries.push(Entry { key, version, scope: own, content, blocks, is_done: false });
            ok(&json!({ "ok": true, "signed_upload_url": format!("{base}content/{number}?sig=up") }))
        }
        "FinalizeCacheEntryUpload" => {
            let size = text("size_bytes");
            let found = state.entries.iter_mut().find(|entry| is_own(entry));
            match found.filter(|entry| entry.content.len().to_string() == size) {
                Some(entry) => {
                    entry.is_done = true;
                    ok(&json!({ "ok": true, "entry_id": "1" }))
                }
                None => ok(&json!({ "ok": false, "message": "the size does not match" })),
            }
        }
        "GetCacheEntryDownloadURL" => {
            let prefixes = arguments["restore_keys"].as_array().into_iter().flatten();
            let prefixes: Vec<&str> = prefixes.filter_map(Value::as_str).collect();
            let found = find(state, &key, &version, &prefixes);
            ok(&match found {
                Some(number) => json!({
                    "ok": true, "matched_key": state.entries[number].key,
                    "signed_download_url": format!("{base}content/{number}?sig=down"),
                }),
                None => json!({ "ok": false }),
            })
        }
        _ => error(404, "bad_route"),
    }
}

/// In each scope the very key first, then the newest entry that begins with a prefix.
fn find(state: &State, key: &str, version: &str, prefixes: &[&str]) -> Option<usize> {
    state.scopes.iter().find_map(|scope| {
        let seen = |entry: &Entry| entry.is_done && entry.version == version && entry.scope == *scope;
        let newest =
            |is: &dyn Fn(&Entry) -> bool| state.entries.iter().rposition(|entry| seen(entry) && is(entry));
        newest(&|entry| entry.key == key)
            .or_else(|| prefixes.iter().find_map(|prefix| newest(&|entry| entry.key.starts_with(prefix))))
    })
}

fn answer_content(state: &mut State, asked: &Asked) -> Option<Answer> {
    let (path, query) = asked.path.split_once('?')?;
    let entry = state.entries.get_mut(path.strip_prefix("/content/")?.parse::<usize>().ok()?)?;
    let block = query.split('&').find_map(|pair| pair.strip_prefix("blockid="));
    match (asked.method.as_str(), block) {
        ("PUT", Some(block)) => {
            entry.blocks.insert(block.replace("%3D", "="), asked.body.clone());
        }
        ("PUT", None) if query.contains("comp=blocklist") => {
            let list = String::from_utf8_lossy(&asked.body).into_owned();
            let names = list.split("<Latest>").skip(1).filter_map(|rest| rest.split('<').next());
            entry.content =
                names.flat_map(|name| entry.blocks.get(name).cloned().unwrap_or_default()).collect();
        }
        ("PUT", None) => entry.content.clone_from(&asked.body),
        _ => {
            let from = asked.range_from.unwrap_or(0);
            let content = entry.content.get(from..)?.to_vec();
            return Some((if from == 0 { 200 } else { 206 }, String::new(), content));
        }
    }
    Some((201, String::new(), Vec::new()))
}

fn ok(value: &Value) -> Answer {
    (200, "content-type: application/json\r\n".to_owned(), value.to_string().into_bytes())
}

fn error(status: u16, words: &str) -> Answer {
    (status, String::new(), json!({ "code": "error", "msg": words }).to_string().into_bytes())
}
