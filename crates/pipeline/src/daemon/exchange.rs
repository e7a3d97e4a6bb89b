//! One request to a daemon and its answer, over its socket.
//!
//! Requests without a body are HTTP/1.0, so that answers end with the connection. A body is sent in pieces, because its
//! length is known at its end.
//!
//! Source: RFC 9112, section 7.1, "Chunked Transfer Coding".

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Answers longer than this are not read to their end, except into a file.
const MAX_ANSWER_BYTES: u64 = 16 << 20;
const MAX_HEADER_BYTES: u64 = 64 << 10;

/// A request.
pub(super) struct Request<'a> {
    /// Method and path.
    pub line: &'a str,
    /// How long nothing may move.
    pub patience: Duration,
}

pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// Whether Podman gave it, which answers Docker's API in its own way.
    pub is_podman: bool,
}

/// How much of a body goes at once.
const PIECE_BYTES: usize = 256 << 10;
/// The end of a body that is kept back until it is complete: a daemon begins with an archive when it has seen the
/// two empty blocks that end a tar.
const HELD_BYTES: usize = 1024;

/// Makes a request and reads its answer into memory.
pub(super) fn ask(socket: &Path, request: &Request<'_>) -> io::Result<Answer> {
    let (head, mut reader) = begin(socket, request)?;
    let mut body = Vec::new();
    reader.by_ref().take(MAX_ANSWER_BYTES).read_to_end(&mut body)?;
    Ok(head.answer(body))
}

/// Makes a request and writes the answer's body into `target`; of an error the body is returned.
pub(super) fn fetch(socket: &Path, request: &Request<'_>, target: &mut File) -> io::Result<Answer> {
    let (head, mut reader) = begin(socket, request)?;
    let mut body = Vec::new();
    if head.status == 200 {
        io::copy(&mut reader, target)?;
    } else {
        reader.take(MAX_ANSWER_BYTES).read_to_end(&mut body)?;
    }
    Ok(head.answer(body))
}

fn begin(socket: &Path, request: &Request<'_>) -> io::Result<(Head, BufReader<UnixStream>)> {
    let mut stream = connect(socket, request)?;
    // In one piece: a daemon may answer and close as soon as it has read something.
    stream.write_all(
        format!("{} HTTP/1.0\r\nHost: daemon\r\nContent-Length: 0\r\n\r\n", request.line).as_bytes(),
    )?;
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader)?;
    Ok((head, reader))
}

fn connect(socket: &Path, request: &Request<'_>) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(request.patience))?;
    stream.set_write_timeout(Some(request.patience))?;
    Ok(stream)
}

/// A request whose body is being written. Its last bytes stay here until it is finished; one that is dropped before
/// that breaks off, and no daemon takes it for whole.
pub(super) struct Upload {
    stream: UnixStream,
    waiting: Vec<u8>,
    sent: u64,
    is_refused: bool,
}

impl Upload {
    /// Begins a request with a tar as its body.
    pub fn begin(socket: &Path, request: &Request<'_>) -> io::Result<Self> {
        let mut stream = connect(socket, request)?;
        let head = format!(
            "{} HTTP/1.1\r\nHost: daemon\r\nConnection: close\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n",
            request.line
        );
        stream.write_all(head.as_bytes())?;
        Ok(Self { stream, waiting: Vec::with_capacity(PIECE_BYTES), sent: 0, is_refused: false })
    }

    /// Returns how many bytes of the body were written.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether the daemon has stopped reading: its answer says why.
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Sends what was kept back and returns the answer; of a body that was refused, the answer to what came of it.
    pub fn finish(mut self) -> io::Result<Answer> {
        if !self.is_refused {
            let rest = std::mem::take(&mut self.waiting);
            let sent = self.piece(&[&rest]).and_then(|()| self.stream.write_all(b"0\r\n\r\n"));
            self.note(sent)?;
        }
        let mut reader = BufReader::new(&self.stream);
        let head = read_head(&mut reader)?;
        let body = head.body(reader)?;
        Ok(head.answer(body))
    }

    fn piece(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        if size == 0 {
            return Ok(());
        }
        write!(self.stream, "{size:x}\r\n")?;
        parts.iter().try_for_each(|part| self.stream.write_all(part))?;
        self.stream.write_all(b"\r\n")
    }

    /// A daemon that refuses early answers before it has read all.
    fn note(&mut self, sent: io::Result<()>) -> io::Result<()> {
        let is_refusal = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
        };
        match sent {
            Err(error) if is_refusal(&error) => {
                self.is_refused = true;
                Ok(())
            }
            sent => sent,
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.waiting.len() + bytes.len() < PIECE_BYTES {
            self.waiting.extend_from_slice(bytes);
        } else if let Some(now) = bytes.len().checked_sub(HELD_BYTES) {
            let waiting = std::mem::take(&mut self.waiting);
            let sent = self.piece(&[&waiting, &bytes[..now]]);
            self.waiting = waiting;
            self.waiting.clear();
            self.waiting.extend_from_slice(&bytes[now..]);
            self.note(sent)?;
        } else {
            self.waiting.extend_from_slice(bytes);
            let held = self.waiting.split_off(self.waiting.len() - HELD_BYTES);
            let waiting = std::mem::replace(&mut self.waiting, held);
            let sent = self.piece(&[&waiting]);
            self.note(sent)?;
        }
        if self.is_refused {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.sent += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// What stands before the body of an answer.
struct Head {
    status: u16,
    is_podman: bool,
    is_chunked: bool,
}

impl Head {
    fn answer(self, body: Vec<u8>) -> Answer {
        Answer { status: self.status, body, is_podman: self.is_podman }
    }

    /// Reads a body that ends with the connection or says itself where it ends.
    fn body(&self, mut reader: impl BufRead) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if !self.is_chunked {
            return match reader.take(MAX_ANSWER_BYTES).read_to_end(&mut body) {
                // Who answers early and closes with a part of the request unread resets the connection behind the answer.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !body.is_empty() => Ok(body),
                read => read.map(|_| body),
            };
        }
        while (body.len() as u64) < MAX_ANSWER_BYTES {
            let mut line = String::new();
            reader.by_ref().take(MAX_HEADER_BYTES).read_line(&mut line)?;
            let size = line.split_once(';').map_or(&*line, |(size, _)| size).trim();
            let size =
                u64::from_str_radix(size, 16).map_err(|_| invalid("a piece of the answer has no size"))?;
            if size == 0 {
                break;
            }
            let left = MAX_ANSWER_BYTES - body.len() as u64;
            let read = reader.by_ref().take(size.min(left)).read_to_end(&mut body)?;
            if (read as u64) < size {
                return if size > left { Ok(body) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            reader.by_ref().take(2).read_line(&mut String::new())?;
        }
        Ok(body)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Head> {
    let mut head = reader.take(MAX_HEADER_BYTES);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| invalid("the answer is not HTTP"))?;
    let mut found = Head { status, is_podman: false, is_chunked: false };
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(invalid("the answer breaks off in its headers"));
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(':') {
            Some(("libpod-api-version", _)) => found.is_podman = true,
            Some(("transfer-encoding", coding)) => found.is_chunked = coding.trim() == "chunked",
            Some(_) => {}
            None if line.is_empty() => return Ok(found),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Has a body written to a listener that reads it to its end and answers with `answer`.
    fn exchange(parts: &[&[u8]], answer: &'static str) -> (io::Result<Answer>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || {
            let mut reader = BufReader::new(listener.accept().unwrap().0);
            let head = loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line == "\r\n" {
                    break Head { status: 0, is_podman: false, is_chunked: true };
                }
            };
            let body = head.body(&mut reader).unwrap();
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            body
        });
        let request = Request { line: "POST /x", patience: Duration::from_secs(60) };
        let mut upload = Upload::begin(&socket, &request).unwrap();
        parts.iter().for_each(|part| upload.write_all(part).unwrap());
        assert_eq!(upload.sent(), parts.iter().map(|part| part.len() as u64).sum::<u64>());
        (upload.finish(), thread.join().unwrap())
    }

    #[test]
    fn a_body_arrives_as_it_was_written_whatever_its_parts() {
        let noise: Vec<u8> =
            (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for parts in [
            vec![],
            vec![&noise[..1]],
            vec![&noise[..PIECE_BYTES], &noise[PIECE_BYTES..]],
            noise.chunks(777).collect(),
            noise.chunks(HELD_BYTES).collect(),
            vec![&noise[..500], &noise[500..2_000_000], &noise[2_000_000..2_000_100], &noise[2_000_100..]],
        ] {
            let (answer, body) = exchange(&parts, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
            assert_eq!(answer.unwrap().body, b"OK");
            assert!(body == parts.concat(), "{} bytes of {}", body.len(), parts.concat().len());
        }
    }

    #[test]
    fn answers_in_pieces_are_put_together_and_broken_ones_are_errors() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLibpod-API-Version: 5.0\r\n\r\n";
        let whole = head.to_owned() + "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        for (answer, expected) in
            [(whole, Some("abcde")), (head.to_owned() + "5\r\nabc", None), (head.to_owned() + "zz\r\n", None)]
        {
            let (answer, _) = exchange(&[b"x"], answer.leak());
            assert_eq!(
                answer.ok().map(|answer| String::from_utf8(answer.body).unwrap()).as_deref(),
                expected
            );
        }
        let (answer, _) = exchange(&[b"x"], "HTTP/1.1 200 OK\r\nLibpod-API-Version: 5.0\r\n\r\n");
        assert!(answer.unwrap().is_podman);
    }

    #[test]
    fn a_daemon_that_stops_reading_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut some = [0; 100];
            stream.read_exact(&mut some).unwrap();
            stream.write_all(b"HTTP/1.1 500 Oh\r\nConnection: close\r\n\r\nno space left on device").unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
        });
        let request = Request { line: "POST /x", patience: Duration::from_secs(60) };
        let mut upload = Upload::begin(&socket, &request).unwrap();
        let mut written = Ok(());
        while written.is_ok() {
            written = upload.write_all(&[7; PIECE_BYTES]);
        }
        assert!(upload.is_refused());
        thread.join().unwrap();
        let answer = upload.finish().unwrap();
        assert_eq!((answer.status, &answer.body[..]), (500, &b"no space left on device"[..]));
    }
}
