//! Answers of daemons, good and bad.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use super::*;

/// A daemon that gives one answer to one connection.
fn daemon_that_answers(answer: &'static str) -> (tempfile::TempDir, std::thread::JoinHandle<String>) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let count = stream.read(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..count]).into_owned()
    });
    (folder, thread)
}

fn connect(folder: &tempfile::TempDir) -> Result<Daemon, DaemonError> {
    Daemon::connect(&folder.path().join("socket"), folder.path())
}

#[test]
fn a_daemon_answers_the_ping() {
    let (folder, thread) = daemon_that_answers("HTTP/1.0 200 OK\r\nApi-Version: 1.41\r\n\r\nOK");
    connect(&folder).unwrap();
    assert!(thread.join().unwrap().starts_with("GET /_ping HTTP/1.0\r\n"));
}

#[test]
fn refusals_say_what_the_daemon_said() {
    let (folder, thread) = daemon_that_answers("HTTP/1.0 403 Forbidden\r\n\r\nnot you");
    let error = connect(&folder).unwrap_err().to_string();
    assert!(error.contains("403") && error.contains("not you"), "{error}");
    thread.join().unwrap();
}

#[test]
fn what_is_no_daemon_is_unreachable() {
    let (folder, thread) = daemon_that_answers("SSH-2.0-x\r\n");
    assert!(matches!(connect(&folder), Err(DaemonError::Unreachable { .. })));
    thread.join().unwrap();
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(connect(&nothing), Err(DaemonError::Unreachable { .. })));
}

#[test]
fn an_error_in_the_stream_is_an_error() {
    assert!(reports_error(b"{\"stream\":\"x\"}\r\n{\"errorDetail\":{},\"error\":\"no space\"}\r\n"));
    assert!(!reports_error(b"{\"stream\":\"Loaded image: api:local\\n\"}\r\n"));
    assert!(!reports_error(b"OK"));
}

/// The first line and the body of each request.
type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A daemon in Docker's classic form: it has `stacks` of layers, takes archives as `takes` says, and
/// then has `loaded` under every name.
struct Docker {
    folder: tempfile::TempDir,
    asked: Asked,
}

struct Manner {
    stack: Vec<String>,
    /// Answers to archives, in turn.
    takes: Vec<&'static str>,
    /// The id that names have after an archive was taken.
    loaded: Option<String>,
}

impl Docker {
    fn start(mut manner: Manner) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let asked = Asked::default();
        let log = asked.clone();
        std::thread::spawn(move || {
            let mut has_loaded = false;
            for stream in listener.incoming() {
                let mut reader = std::io::BufReader::new(stream.unwrap());
                let head = testkit::http::read_head(&mut reader).unwrap();
                let body = testkit::http::read_body(&mut reader, &head).unwrap();
                let line = head[0].clone();
                let path = line.split(' ').nth(1).unwrap().to_owned();
                let (status, answer) = match path.as_str() {
                    "/_ping" => (200, "OK".to_owned()),
                    "/images/json" => (200, r#"[{"Id":"other"}]"#.to_owned()),
                    "/images/other/json?manifests=1" => (200, inspected("other", &manner.stack)),
                    "/images/load?quiet=1" => {
                        let answer = manner.takes.remove(0);
                        has_loaded = !answer.contains("error");
                        (200, answer.to_owned())
                    }
                    _ => match manner.loaded.as_ref().filter(|_| has_loaded) {
                        Some(id) => (200, inspected(id, &[])),
                        None => (404, r#"{"message":"no such image"}"#.to_owned()),
                    },
                };
                log.lock().unwrap().push((line, body));
                write!(reader.get_mut(), "HTTP/1.0 {status} X\r\n\r\n{answer}").unwrap();
            }
        });
        Self { folder, asked }
    }

    fn daemon(&self) -> Daemon {
        connect(&self.folder).unwrap()
    }

    /// The members of the archives that came.
    fn archives(&self) -> Vec<Vec<String>> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(line, _)| line.starts_with("POST /images/load"))
            .map(|(_, tar)| names(tar))
            .collect()
    }
}

fn inspected(id: &str, layers: &[String]) -> String {
    serde_json::json!({"Id": id, "RootFS": {"Type": "layers", "Layers": layers}}).to_string()
}

/// The names of a tar's members, by the sizes in their headers.
fn names(tar: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = tar;
    while rest.len() >= 512 && rest[0] != 0 {
        let text = |range: std::ops::Range<usize>| {
            String::from_utf8_lossy(&rest[range]).trim_end_matches(['\0', ' ']).to_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).unwrap();
        names.push(text(0..100));
        rest = &rest[512 + size.div_ceil(512) * 512..];
    }
    names
}

struct Shop {
    store: store::MemoryStore,
    image: Document,
    diff_ids: Vec<String>,
}

fn shop() -> Shop {
    let store = store::MemoryStore::new();
    let image = testkit::image::TinyImage::of_layers(&[&[("a", "1")], &[("b", "2")]]);
    image.put(&store, "1");
    let document = store.document(&image.digest()).unwrap();
    let config = Image::open(&store, &document, None).unwrap().config;
    let diff_ids = config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
    Shop { store, image: document, diff_ids }
}

impl Shop {
    fn load(&self, docker: &Docker) -> Result<Loaded, DaemonError> {
        let name = "api:local".parse().unwrap();
        docker.daemon().load(&[name], &self.store, &self.image, None)
    }

    fn blob(&self, layer: usize) -> String {
        format!("blobs/sha256/{}", self.image.as_image().unwrap().layers[layer].digest.hex())
    }

    fn id(&self) -> Option<String> {
        Some(self.image.as_image().unwrap().config.digest.to_string())
    }
}

const TAKEN: &str = "{\"stream\":\"Loaded image: api:local\\n\"}\r\n";
const REFUSED: &str = "{\"errorDetail\":{},\"error\":\"open blobs/sha256/x: no such file\"}\r\n";

#[test]
fn only_the_layers_that_the_daemon_lacks_are_sent() {
    let shop = shop();
    let stack = vec![shop.diff_ids[0].clone(), "sha256:another".to_owned()];
    let docker = Docker::start(Manner { stack, takes: vec![TAKEN], loaded: shop.id() });
    let loaded = shop.load(&docker).unwrap();
    assert_eq!(loaded.layers_spared, 1);
    let [sent] = &docker.archives()[..] else { panic!("one archive was to come") };
    assert!(!sent.contains(&shop.blob(0)) && sent.contains(&shop.blob(1)), "{sent:?}");
    // The second time it is there.
    assert_eq!(shop.load(&docker).unwrap(), Loaded { bytes_sent: 0, layers_spared: 2 });
}

#[test]
fn a_daemon_that_wants_all_layers_gets_them() {
    let shop = shop();
    let docker = Docker::start(Manner {
        stack: shop.diff_ids.clone(),
        takes: vec![REFUSED, TAKEN],
        loaded: shop.id(),
    });
    assert_eq!(shop.load(&docker).unwrap().layers_spared, 0);
    let archives = docker.archives();
    assert!(!archives[0].contains(&shop.blob(1)), "{archives:?}");
    assert!(archives[1].contains(&shop.blob(0)) && archives[1].contains(&shop.blob(1)), "{archives:?}");
}

#[test]
fn a_daemon_that_says_yes_and_has_nothing_is_found_out() {
    let shop = shop();
    let docker = Docker::start(Manner { stack: Vec::new(), takes: vec![TAKEN], loaded: None });
    let error = shop.load(&docker).unwrap_err();
    assert!(matches!(&error, DaemonError::NotLoaded { found, .. } if found == "nothing"), "{error}");
    let other = Some("sha256:another".to_owned());
    let docker = Docker::start(Manner { stack: Vec::new(), takes: vec![TAKEN], loaded: other });
    let error = shop.load(&docker).unwrap_err().to_string();
    assert!(error.contains("sha256:another instead of"), "{error}");
}

#[test]
fn names_must_be_ones_that_a_daemon_knows() {
    let shop = shop();
    let docker = Docker::start(Manner { stack: Vec::new(), takes: Vec::new(), loaded: None });
    let name: Reference = format!("api@{}", shop.image.digest()).parse().unwrap();
    let error = docker.daemon().load(&[name], &shop.store, &shop.image, None).unwrap_err();
    assert!(matches!(error, DaemonError::Nameless { .. }), "{error}");
}
