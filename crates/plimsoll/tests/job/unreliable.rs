//! Our own registry behind a proxy that does to each request what a script says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// What happens to a request.
pub enum Fault {
    /// It is passed on.
    None,
    /// It is answered by the proxy, with these header lines and nothing else.
    Answer(u16, &'static str),
    /// The answer ends after so many bytes of its body.
    Truncate(usize),
    /// The last byte of the answer is another one.
    Lie,
}

/// Sees the first line of each request without its version.
type Script = Box<dyn FnMut(&str) -> Fault + Send>;

/// The registry and its proxy; both are gone when this is dropped.
pub struct Unreliable {
    /// Where the proxy listens.
    pub address: String,
    script: Arc<Mutex<Script>>,
    server: Child,
}

impl Unreliable {
    /// Starts a registry with its data in `root`.
    pub fn start(root: &Path) -> Self {
        let mut server = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(["serve", "registry", "--listen", "127.0.0.1:0", "--root"])
            .arg(root)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let upstream = line.split_whitespace().find(|word| word.contains("127.0.0.1:")).unwrap();
        let upstream = upstream.trim_start_matches("http://").trim_matches(['/', ',', '.']).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(|_| Fault::None)));
        let faults = script.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (faults, upstream) = (faults.clone(), upstream.clone());
                std::thread::spawn(move || pass_on(client, &upstream, &faults));
            }
        });
        Self { address, script, server }
    }

    /// Has requests from now on treated as `script` says.
    pub fn does(&self, script: impl FnMut(&str) -> Fault + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// Has the first `count` requests that hold `words` treated with `fault`.
    pub fn does_at_first(&self, count: usize, words: &'static str, fault: fn() -> Fault) {
        let mut left = count;
        self.does(move |line| match left > 0 && line.contains(words) {
            true => {
                left -= 1;
                fault()
            }
            false => Fault::None,
        });
    }
}

impl Drop for Unreliable {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Serves one request; the connection ends with it.
fn pass_on(mut client: TcpStream, upstream: &str, script: &Mutex<Script>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (first, rest, length) = read_head(&mut reader)?;
    let fault = (script.lock().unwrap())(first.rsplit_once(' ')?.0);
    let mut body = reader.take(length);
    if let Fault::Answer(status, lines) = fault {
        std::io::copy(&mut body, &mut std::io::sink()).ok()?;
        let end = "Content-Length: 0\r\nConnection: close\r\n\r\n";
        return write!(client, "HTTP/1.1 {status} X\r\n{lines}{end}").ok();
    }
    let mut server = TcpStream::connect(upstream).ok()?;
    write!(server, "{first}\r\nConnection: close\r\n{rest}\r\n").ok()?;
    std::io::copy(&mut body, &mut server).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    match fault {
        Fault::Truncate(count) => answer.truncate(head + count),
        Fault::Lie => *answer.last_mut()? ^= 1,
        Fault::None | Fault::Answer(..) => {}
    }
    client.write_all(&answer).ok()
}

/// Returns the first line, the headers without those about the connection, and the body's length.
fn read_head(reader: &mut impl std::io::BufRead) -> Option<(String, String, u64)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
    let (mut rest, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
        if !name.eq_ignore_ascii_case("connection") {
            rest.push_str(&line);
        }
    }
    Some((first.trim_end().to_owned(), rest, length))
}
