//! Is there a Docker or Podman daemon? Asked by its own API over its socket.
//!
//! Source: Docker Engine API v1.43, `GET /version`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::env::Environment;

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest answer that is read, in bytes.
const LONGEST: u64 = 256 << 10;

/// What a daemon says of itself.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Version {
    /// Version of the daemon.
    pub version: String,
    /// Newest API version it speaks.
    pub api_version: String,
}

/// Returns where the daemon listens, or why that cannot be asked.
pub fn socket(environment: &Environment) -> Result<PathBuf, String> {
    match environment.variable("DOCKER_HOST") {
        None => Ok("/var/run/docker.sock".into()),
        Some(host) => match host.strip_prefix("unix://") {
            Some(path) => Ok(path.into()),
            None => Err(format!("DOCKER_HOST is {host}; only unix:// sockets are asked")),
        },
    }
}

/// Asks the daemon behind `socket` for its version.
pub fn ask(socket: &Path) -> Result<Version, String> {
    let answer = exchange(socket).map_err(|error| format!("{}: {error}", socket.display()))?;
    read_answer(&answer)
}

fn exchange(socket: &Path) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(answer)
}

fn read_answer(answer: &[u8]) -> Result<Version, String> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.ok_or("the answer is not HTTP")? + 4);
    let first = String::from_utf8_lossy(head);
    let first = first.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("200") {
        return Err(format!("the daemon answered {first}"));
    }
    serde_json::from_slice(body).map_err(|error| format!("the daemon's version cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[track_caller]
    fn check(answer: &'static str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 128];
            let count = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let found = match ask(&socket) {
            Ok(version) => format!("{} speaks {}", version.version, version.api_version),
            Err(reason) => reason,
        };
        assert!(daemon.join().unwrap().starts_with("GET /version "));
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn answers_of_daemons() {
        check(
            "HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"Version\":\"28.1\",\"ApiVersion\":\"1.49\",\"Os\":\"linux\"}",
            "28.1 speaks 1.49",
        );
        check("HTTP/1.0 403 Forbidden\r\n\r\n", "403 Forbidden");
        check("HTTP/1.0 200 OK\r\n\r\n<html>", "cannot be read");
        check("hello", "not HTTP");
    }

    #[test]
    fn nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ask(&folder.path().join("x")).unwrap_err().contains("No such file"));
    }
}
