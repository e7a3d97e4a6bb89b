//! A container daemon that is played, in Docker's classic form and with containerd's store.

use std::ffi::OsString;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use oci::Digest;
use testkit::http::{read_body, read_head};

/// What the played daemon answers to an archive.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Takes it, and then has the image.
    Takes,
    /// Takes archives, but will not import layers.
    TakesArchives,
    /// Has containerd's store, and pulls from whoever asks it to, as Docker does on its machine's loopback address.
    Pulls,
    /// Has containerd's store, and reaches nobody.
    ReachesNobody,
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
    asked: Log,
    images: Arc<Mutex<Images>>,
    _folder: tempfile::TempDir,
}

/// First lines of requests, with the length of what came along, in the order in which they were complete.
type Log = Arc<Mutex<Vec<(String, usize)>>>;

#[derive(Default)]
struct Images {
    /// Diff ids of each image by its id.
    layers: Vec<(String, Vec<String>)>,
    names: Vec<(String, String)>,
    /// Stacks of layers that are unpacked, as diff ids.
    unpacked: Vec<Vec<String>>,
}

impl Played {
    /// Starts it; it lives as long as the process.
    pub fn start(manner: Manner) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (asked, images) = (Log::default(), Arc::<Mutex<Images>>::default());
        let (log, kept) = (asked.clone(), images.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, kept) = (log.clone(), kept.clone());
                // One that is being sent an archive answers others meanwhile.
                std::thread::spawn(move || talk(&mut BufReader::new(stream), manner, &kept, &log));
            }
        });
        Self { socket, asked, images, _folder: folder }
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

    /// The sizes of the layers that came alone.
    pub fn imports(&self) -> Vec<usize> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(line, _)| line.contains("fromSrc=-")).map(|(_, size)| *size).collect()
    }

    /// How many images it was asked to pull.
    pub fn pulls(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|(line, _)| line.contains("fromImage=")).count()
    }

    /// How many images it has.
    pub fn images(&self) -> usize {
        self.images.lock().unwrap().layers.len()
    }
}

fn talk(
    reader: &mut BufReader<UnixStream>,
    manner: Manner,
    images: &Mutex<Images>,
    log: &Log,
) -> std::io::Result<()> {
    let head = read_head(reader)?;
    let Some(line) = head.first() else { return Ok(()) };
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    if path.starts_with("/images/load") && matches!(manner, Manner::GoesAway) {
        log.lock().unwrap().push((line.clone(), 0));
        return Ok(());
    }
    // A body that breaks off is none.
    let body = read_body(reader, &head)?;
    log.lock().unwrap().push((line.clone(), body.len()));
    let (status, answer) = images.lock().unwrap().answer(line, &body, manner);
    write!(reader.get_mut(), "HTTP/1.0 {status} X\r\n\r\n{answer}")
}

impl Images {
    fn answer(&mut self, line: &str, body: &[u8], manner: Manner) -> (u16, String) {
        let path = line.split(' ').nth(1).unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if line.starts_with("DELETE ") {
            let name = path.trim_start_matches("/images/");
            self.layers.retain(|(id, _)| id != name);
            return (200, "[]".to_owned());
        }
        if let Some(id) = path.strip_prefix("/images/").and_then(|rest| rest.strip_suffix("/tag")) {
            let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)).unwrap();
            self.names.push((format!("{}:{}", value("repo="), value("tag=")), id.to_owned()));
            return (201, String::new());
        }
        match path {
            "/_ping" => (200, "OK".to_owned()),
            "/info" if matches!(manner, Manner::Pulls | Manner::ReachesNobody) => {
                (200, r#"{"DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]]}"#.to_owned())
            }
            "/info" => {
                (200, r#"{"Driver":"overlay2","DriverStatus":[["Supports d_type","true"]]}"#.to_owned())
            }
            "/images/json" => {
                let list: Vec<_> = self.layers.iter().map(|(id, _)| serde_json::json!({"Id": id})).collect();
                (200, serde_json::to_string(&list).unwrap())
            }
            "/images/create" if query.contains("fromSrc=-") && !matches!(manner, Manner::TakesArchives) => {
                let diff_id = Digest::of(body).to_string();
                let id = Digest::of(format!("an image of {diff_id}").as_bytes()).to_string();
                self.unpacked.push(vec![diff_id.clone()]);
                self.layers.push((id.clone(), vec![diff_id]));
                (200, format!("{{\"status\":\"{id}\"}}\r\n"))
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
                Manner::Takes | Manner::TakesArchives | Manner::Pulls | Manner::ReachesNobody => {
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
            let mut answer = &answer[..];
            let head = read_head(&mut answer).unwrap();
            let content = read_body(&mut answer, &head).unwrap();
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
        let layers: Vec<_> = layers.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        self.unpacked.push(layers.clone());
        self.layers.push((format!("{name}@{digest}"), layers));
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
            let layers: Vec<_> = layers.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
            let has = |count: &usize| self.unpacked.iter().any(|stack| stack.starts_with(&layers[..*count]));
            let known = (1..=layers.len()).filter(has).max().unwrap_or(0);
            for (path, diff_id) in image["Layers"].as_array().unwrap().iter().zip(&layers).skip(known) {
                let mut plain = Vec::new();
                let packed = std::io::Cursor::new(content(path.as_str().unwrap()));
                layer::decompress(packed).unwrap().read_to_end(&mut plain).unwrap();
                assert_eq!(Digest::of(&plain).to_string(), *diff_id);
            }
            self.unpacked.push(layers.clone());
            self.layers.push((id.clone(), layers));
            for name in image["RepoTags"].as_array().unwrap() {
                self.names.push((name.as_str().unwrap().to_owned(), id.clone()));
            }
        }
    }
}
