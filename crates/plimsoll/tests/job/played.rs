//! A container daemon that is played, in Docker's classic form.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What the played daemon answers to an archive.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Takes it, and then has the image.
    Takes,
    /// Pulls from whoever asks it to, as Docker does on its machine's loopback address.
    Pulls,
    /// Says that it took it, and has nothing.
    Lies,
    /// Answers with an error in its stream of messages.
    Refuses,
    /// Closes the connection in the middle of the archive.
    GoesAway,
}

/// A daemon in Docker's classic form. It knows images by the digest of their configuration.
pub struct Played {
    socket: PathBuf,
    /// First lines of requests, with the length of what came along.
    asked: Arc<Mutex<Vec<(String, usize)>>>,
    _folder: tempfile::TempDir,
}

#[derive(Default)]
struct Images {
    /// Diff ids of each image by its id.
    layers: Vec<(String, Vec<String>)>,
    names: Vec<(String, String)>,
}

impl Played {
    /// Starts it; it lives as long as the process.
    pub fn start(manner: Manner) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        std::thread::spawn(move || {
            let mut images = Images::default();
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let _ = talk(&mut reader, &manner, &mut images, &log);
            }
        });
        Self { socket, asked, _folder: folder }
    }

    /// The value of `DOCKER_HOST`.
    pub fn host(&self) -> OsString {
        format!("unix://{}", self.socket.display()).into()
    }

    /// The sizes of the archives that came.
    pub fn archives(&self) -> Vec<usize> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(line, _)| line.contains("/images/load")).map(|(_, size)| *size).collect()
    }
}

fn talk(
    reader: &mut BufReader<UnixStream>,
    manner: &Manner,
    images: &mut Images,
    log: &Mutex<Vec<(String, usize)>>,
) -> std::io::Result<()> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim_end().is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("Content-Length: ") {
            length = value.trim_end().parse().unwrap();
        }
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().unwrap().push((line.trim_end().to_owned(), length));
    if path.starts_with("/images/load") && matches!(manner, Manner::GoesAway) {
        return Ok(());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, answer) = images.answer(&path, &body, manner);
    write!(reader.get_mut(), "HTTP/1.0 {status} X\r\n\r\n{answer}")
}

impl Images {
    fn answer(&mut self, path: &str, body: &[u8], manner: &Manner) -> (u16, String) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if let Some(id) = path.strip_prefix("/images/").and_then(|rest| rest.strip_suffix("/tag")) {
            let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)).unwrap();
            self.names.push((format!("{}:{}", value("repo="), value("tag=")), id.to_owned()));
            return (201, String::new());
        }
        match path {
            "/_ping" => (200, "OK".to_owned()),
            "/info" => {
                (200, r#"{"Driver":"overlay2","DriverStatus":[["Supports d_type","true"]]}"#.to_owned())
            }
            "/images/json" => {
                let list: Vec<_> = self.layers.iter().map(|(id, _)| serde_json::json!({"Id": id})).collect();
                (200, serde_json::to_string(&list).unwrap())
            }
            "/images/create" if matches!(manner, Manner::Pulls) => {
                let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)).unwrap();
                self.pull(value("fromImage="), value("tag="));
                (200, "{\"status\":\"Pulling\"}".to_owned())
            }
            "/images/load" => match manner {
                Manner::Refuses => {
                    (200, "{\"errorDetail\":{},\"error\":\"no space left on device\"}".to_owned())
                }
                Manner::Takes | Manner::Pulls => {
                    self.take(body);
                    (200, "{\"stream\":\"Loaded image\"}".to_owned())
                }
                Manner::Lies | Manner::GoesAway => (200, "{\"stream\":\"Loaded image\"}".to_owned()),
            },
            _ => {
                let name = path.trim_start_matches("/images/").trim_end_matches("/json");
                let id = self.names.iter().rev().find(|(known, _)| known == name).map_or(name, |(_, id)| id);
                match self.layers.iter().find(|(known, _)| known == id) {
                    Some((id, layers)) => {
                        let root = serde_json::json!({"Type": "layers", "Layers": layers});
                        (200, serde_json::json!({"Id": id, "RootFS": root}).to_string())
                    }
                    None => (404, "{\"message\":\"no such image\"}".to_owned()),
                }
            }
        }
    }

    /// Fetches manifest, configuration and layers, and keeps what Docker's classic store keeps of them.
    fn pull(&mut self, name: &str, digest: &str) {
        let (host, path) = name.split_once('/').unwrap();
        let get = |what: &str, digest: &str| {
            let mut stream = TcpStream::connect(host).unwrap();
            write!(stream, "GET /v2/{path}/{what}/{digest} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            let mut content = answer.split_off(head);
            if String::from_utf8_lossy(&answer).contains("Transfer-Encoding: chunked") {
                content = joined(&content);
            }
            assert_eq!(oci::Digest::of(&content).to_string(), digest);
            content
        };
        let manifest: serde_json::Value = serde_json::from_slice(&get("manifests", digest)).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let media_type = layer["mediaType"].as_str().unwrap();
            assert!(media_type.ends_with(".tar"), "{media_type} for a store that keeps no compression");
            get("blobs", layer["digest"].as_str().unwrap());
        }
        let id = manifest["config"]["digest"].as_str().unwrap();
        let config: serde_json::Value = serde_json::from_slice(&get("blobs", id)).unwrap();
        let layers = config["rootfs"]["diff_ids"].as_array().unwrap();
        let layers = layers.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        self.layers.push((id.to_owned(), layers));
    }

    /// Reads `manifest.json` and the configurations of an archive as Docker does.
    fn take(&mut self, tar: &[u8]) {
        let members = testkit::tar::members(tar);
        let content = |name: &str| members.iter().find(|(known, _)| known == name).unwrap().1.clone();
        let list: serde_json::Value = serde_json::from_slice(&content("manifest.json")).unwrap();
        for image in list.as_array().unwrap() {
            let config = content(image["Config"].as_str().unwrap());
            let id = oci::Digest::of(&config).to_string();
            let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
            let layers = config["rootfs"]["diff_ids"].as_array().unwrap();
            self.layers.push((id.clone(), layers.iter().map(|id| id.as_str().unwrap().to_owned()).collect()));
            for name in image["RepoTags"].as_array().unwrap() {
                self.names.push((name.as_str().unwrap().to_owned(), id.clone()));
            }
        }
    }
}

/// Puts the pieces of a body together; one that breaks off is a panic.
fn joined(mut pieces: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = pieces.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&pieces[..end]).unwrap(), 16).unwrap();
        whole.extend(&pieces[end + 2..end + 2 + size]);
        pieces = &pieces[end + 2 + size + 2..];
        if size == 0 {
            return whole;
        }
    }
}
