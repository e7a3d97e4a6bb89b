//! One request to a daemon and its answer, over its socket.
//!
//! Requests are HTTP/1.0 with a known length, so that answers end with the connection.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
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
    /// An archive that is sent.
    pub archive: Option<&'a File>,
}

pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Makes a request and reads its answer into memory.
pub(super) fn ask(socket: &Path, request: &Request<'_>) -> io::Result<Answer> {
    let (status, reader) = begin(socket, request)?;
    let mut body = Vec::new();
    reader.take(MAX_ANSWER_BYTES).read_to_end(&mut body)?;
    Ok(Answer { status, body })
}

/// Makes a request and writes the answer's body into `target`; of an error the body is returned.
pub(super) fn fetch(socket: &Path, request: &Request<'_>, target: &mut File) -> io::Result<Answer> {
    let (status, mut reader) = begin(socket, request)?;
    let mut body = Vec::new();
    if status == 200 {
        io::copy(&mut reader, target)?;
    } else {
        reader.take(MAX_ANSWER_BYTES).read_to_end(&mut body)?;
    }
    Ok(Answer { status, body })
}

fn begin(socket: &Path, request: &Request<'_>) -> io::Result<(u16, BufReader<UnixStream>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(request.patience))?;
    stream.set_write_timeout(Some(request.patience))?;
    let length = request.archive.map(File::metadata).transpose()?.map_or(0, |metadata| metadata.len());
    let head = format!(
        "{} HTTP/1.0\r\nHost: daemon\r\nContent-Type: application/x-tar\r\nContent-Length: {length}\r\n\r\n",
        request.line
    );
    // In one piece: a daemon may answer and close as soon as it has read something.
    stream.write_all(head.as_bytes())?;
    if let Some(mut archive) = request.archive {
        // A daemon that refuses early answers before it has read all; the answer says why.
        let sent = io::copy(&mut archive, &mut stream);
        if let Err(error) = sent.as_ref()
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
    }
    let mut reader = BufReader::new(stream);
    let status = read_head(&mut reader)?;
    Ok((status, reader))
}

fn read_head(reader: &mut impl BufRead) -> io::Result<u16> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = reader.take(MAX_HEADER_BYTES);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| invalid("the answer is not HTTP"))?;
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(invalid("the answer breaks off in its headers"));
        }
        if line.trim_end().is_empty() {
            return Ok(status);
        }
    }
}
