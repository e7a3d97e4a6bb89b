//! The content of a file over a plain connection of its own: the kernel moves the bytes from the
//! file to the socket, and nothing of them passes through this process.
//!
//! It is for unencrypted requests without a proxy, which on one machine are most of what a push
//! costs. The connection is closed after the answer. A server that answers early, as one that
//! refuses does, is not sent the rest.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST};
use hyper::{Request, Uri};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::sendfile;
use rustix::io::Errno;

use super::answer::{self, Answer};
use super::failure::{Failure, Limit};
use super::payload::{FilePart, Payload};
use super::transport::Patience;

const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How much the kernel is asked to move at once.
const SEND_BYTES: u64 = 4 << 20;

/// Sends the request with the part of the file as its body and returns the whole answer.
pub(crate) fn send(
    request: &Request<()>,
    part: &FilePart,
    host: &str,
    patience: Patience,
) -> Result<Answer, Failure> {
    let stream = connect(request.uri(), host, patience.deadline)?;
    let Patience { silence, deadline, .. } = patience;
    let mut connection = Connection { stream, host, silence, deadline };
    let head = head(request, part.length);
    // A server that refuses closes the connection while we still send; its answer says why.
    let sent = connection.send_bytes(&head).and_then(|early| match early {
        Sent::All => connection.send_file(part),
        early @ Sent::Answered => Ok(early),
    });
    match sent {
        Ok(_) => connection.receive(patience.answer),
        Err(failure @ Failure::Broken { .. }) => connection.receive(patience.answer).map_err(|_| failure),
        Err(failure) => Err(failure),
    }
}

fn connect(address: &Uri, host: &str, deadline: Instant) -> Result<TcpStream, Failure> {
    let failed = |source: io::Error| Failure::Connect {
        host: host.to_owned(),
        transient: true,
        source: Box::new(source),
    };
    let name = address.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let found = (name, address.port_u16().unwrap_or(80)).to_socket_addrs().map_err(failed)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in found {
        let limit = CONNECT_LIMIT.min(deadline.saturating_duration_since(Instant::now()));
        match TcpStream::connect_timeout(&address, limit.max(Duration::from_millis(1))) {
            Ok(stream) => {
                stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).map_err(failed)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn head(request: &Request<()>, length: u64) -> Vec<u8> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut head = format!("{} {path} HTTP/1.1\r\n", request.method()).into_bytes();
    let mut line = |name: &str, value: &[u8]| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    line(HOST.as_str(), authority.rsplit('@').next().unwrap_or_default().as_bytes());
    let own = [HOST, CONTENT_LENGTH, CONNECTION];
    for (name, value) in request.headers().iter().filter(|(name, _)| !own.contains(name)) {
        line(name.as_str(), value.as_bytes());
    }
    line(CONTENT_LENGTH.as_str(), length.to_string().as_bytes());
    line(CONNECTION.as_str(), b"close");
    head.extend_from_slice(b"\r\n");
    head
}

struct Connection<'a> {
    stream: TcpStream,
    host: &'a str,
    silence: Duration,
    deadline: Instant,
}

/// How sending ended.
enum Sent {
    All,
    /// The server answered, or closed, before all was sent.
    Answered,
}

impl Connection<'_> {
    fn send_bytes(&mut self, mut bytes: &[u8]) -> Result<Sent, Failure> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.wait(PollFlags::IN | PollFlags::OUT, self.silence)?.intersects(ANSWERED) {
                        return Ok(Sent::Answered);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
        Ok(Sent::All)
    }

    fn send_file(&mut self, part: &FilePart) -> Result<Sent, Failure> {
        let (mut position, end) = (part.offset, part.offset + part.length);
        while position < end {
            let wanted = usize::try_from((end - position).min(SEND_BYTES)).expect("4 MiB fit usize");
            match sendfile(&self.stream, &part.file, Some(&mut position), wanted) {
                Ok(0) => return Err(unreadable(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if self.wait(PollFlags::IN | PollFlags::OUT, self.silence)?.intersects(ANSWERED) {
                        return Ok(Sent::Answered);
                    }
                }
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    return self.send_through_memory(part, position);
                }
                Err(errno @ Errno::IO) => return Err(unreadable(errno.into())),
                Err(errno) => return Err(self.broken(errno.into())),
            }
        }
        Ok(Sent::All)
    }

    /// For file systems from which the kernel cannot send.
    fn send_through_memory(&mut self, part: &FilePart, from: u64) -> Result<Sent, Failure> {
        let payload = Payload::File(part.clone());
        let mut done = from - part.offset;
        while done < part.length {
            let chunk = payload.chunk(done).map_err(unreadable)?;
            if let early @ Sent::Answered = self.send_bytes(&chunk)? {
                return Ok(early);
            }
            done += chunk.len() as u64;
        }
        Ok(Sent::All)
    }

    fn receive(&mut self, patience: Duration) -> Result<Answer, Failure> {
        let mut received = Vec::new();
        let mut limit = patience;
        loop {
            let mut buffer = [0; 8 << 10];
            let ended = match self.stream.read(&mut buffer) {
                Ok(count) => {
                    received.extend_from_slice(&buffer[..count]);
                    count == 0
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN, limit)?;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(error)),
            };
            limit = self.silence;
            if let Some(answer) = answer::parse(&mut received, ended)? {
                return Ok(answer);
            }
            if ended {
                return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Waits until the socket is ready for one of `events`.
    fn wait(&self, events: PollFlags, limit: Duration) -> Result<PollFlags, Failure> {
        let started = Instant::now();
        loop {
            let left = limit.saturating_sub(started.elapsed());
            let whole = self.deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left.min(whole)).expect("a limit of minutes fits");
            let mut sockets = [PollFd::new(&self.stream, events)];
            match poll(&mut sockets, Some(&timeout)) {
                Ok(0) => {
                    let limit = if whole < left { Limit::Request } else { Limit::Silence(limit) };
                    return Err(Failure::TimedOut { host: self.host.to_owned(), limit });
                }
                Ok(_) => return Ok(sockets[0].revents()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.broken(errno.into())),
            }
        }
    }

    fn broken(&self, source: io::Error) -> Failure {
        Failure::Broken { host: self.host.to_owned(), source: Box::new(source) }
    }
}

/// What makes it pointless to go on sending.
const ANSWERED: PollFlags = PollFlags::IN.union(PollFlags::HUP).union(PollFlags::ERR);

fn unreadable(source: io::Error) -> Failure {
    Failure::Local { action: "read", what: "the file that is sent".to_owned(), source }
}
