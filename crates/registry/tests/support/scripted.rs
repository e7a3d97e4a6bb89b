//! A server that does what a test tells it, also what no server should.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use oci::{Registry, Repository};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    /// With the query.
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Method and path without the query.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path.split('?').next().unwrap())
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    announced: Option<usize>,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), announced: None }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Says another length than the body has; the connection is closed behind it.
    pub fn announcing(mut self, length: usize) -> Self {
        self.announced = Some(length);
        self
    }
}

/// What the server does with a request whose head has come.
pub enum Act {
    /// Reads the body and answers.
    Answer(Answer),
    /// Answers without waiting for the body, and closes.
    AnswerEarly(Answer),
    /// Reads so many bytes of the body and breaks the connection.
    BreakAfter(usize),
    /// Says nothing until the client goes away.
    Hang,
    /// Does what no answer does; the connection ends with it.
    Wild(Wild),
}

/// What is done with a connection after the head of a request has come.
pub type Wild = Box<dyn FnOnce(&mut TcpStream) + Send>;

impl From<Answer> for Act {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// The server. It lives as long as the test process; its thread waits for connections only.
pub struct Scripted {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Script = Arc<Mutex<dyn FnMut(&Asked) -> Act + Send>>;

impl Scripted {
    /// Starts a server whose `script` sees each request with its body.
    pub fn start_after<A: Into<Act>>(script: impl FnMut(&Asked) -> A + Send + 'static) -> Self {
        Self::start_with(script, true)
    }

    /// Starts a server whose `script` sees the head of each request; its body is in the list of
    /// requests afterwards.
    pub fn start<A: Into<Act>>(script: impl FnMut(&Asked) -> A + Send + 'static) -> Self {
        Self::start_with(script, false)
    }

    fn start_with<A: Into<Act>>(
        mut script: impl FnMut(&Asked) -> A + Send + 'static,
        with_body: bool,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(Mutex::new(move |asked: &Asked| script(asked).into()));
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, log) = (script.clone(), log.clone());
                std::thread::spawn(move || talk(stream, &script, &log, with_body));
            }
        });
        Self { address, asked }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn registry(&self) -> Registry {
        self.address.to_string().parse().unwrap()
    }

    pub fn repository(&self, path: &str) -> Repository {
        Repository::new(self.registry(), path).unwrap()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }
}

/// Serves one connection until either side closes it.
fn talk(stream: TcpStream, script: &Script, log: &Mutex<Vec<Asked>>, with_body: bool) -> Option<()> {
    // Head and body are written one after the other: else the body would wait for the other side.
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut asked = read_head(&mut reader)?;
        let length: usize = asked.header("content-length").unwrap_or("0").parse().ok()?;
        if with_body {
            asked.body.resize(length, 0);
            reader.read_exact(&mut asked.body).ok()?;
        }
        let act = (script.lock().unwrap())(&asked);
        let wanted = match &act {
            Act::Answer(_) => length,
            Act::AnswerEarly(_) | Act::Hang | Act::Wild(_) => 0,
            Act::BreakAfter(count) => *count,
        };
        if !with_body {
            asked.body.resize(wanted, 0);
            reader.read_exact(&mut asked.body).ok()?;
        }
        let is_head = asked.method == "HEAD";
        log.lock().unwrap().push(asked);
        match act {
            Act::Answer(answer) => write_answer(&mut writer, &answer, is_head)?,
            Act::AnswerEarly(answer) => {
                write_answer(&mut writer, &answer, is_head)?;
                writer.shutdown(std::net::Shutdown::Write).ok()?;
                // Closing with unread content would take the answer away from the client.
                return std::io::copy(&mut reader, &mut std::io::sink()).ok().and(None);
            }
            Act::BreakAfter(_) => return None,
            Act::Wild(wild) => {
                wild(&mut writer);
                return None;
            }
            Act::Hang => return reader.read(&mut [0]).ok().and(None),
        }
    }
}

fn read_head(reader: &mut impl std::io::BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut asked =
        Asked { method: words.next()?.to_owned(), path: words.next()?.to_owned(), ..Asked::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some(asked) };
        asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Returns `None` where the connection must not be used again.
fn write_answer(writer: &mut TcpStream, answer: &Answer, is_head: bool) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let has_length = answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !has_length && answer.status != 204 {
        head.push_str(&format!("Content-Length: {}\r\n", answer.announced.unwrap_or(answer.body.len())));
    }
    head.push_str("\r\n");
    writer.write_all(head.as_bytes()).ok()?;
    if !is_head {
        writer.write_all(&answer.body).ok()?;
    }
    writer.flush().ok()?;
    if answer.announced.is_some() { None } else { Some(()) }
}
