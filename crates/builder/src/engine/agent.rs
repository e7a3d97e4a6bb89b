//! The socket of an SSH agent as a step sees it: one of ours that passes everything on.
//!
//! The agent's own socket belongs to whoever started it and is closed to others; ours has the mode and owner
//! that the step asks for, and is gone when the step ends.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A socket that leads to an agent, until dropped.
#[derive(Debug)]
pub(crate) struct AgentSocket {
    /// Where it lies.
    pub path: PathBuf,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AgentSocket {
    /// Makes the socket `name` in `folder` for the agent that listens at `agent`.
    pub fn open(folder: &Path, name: &str, agent: &Path, mode: u32, owner: (u32, u32)) -> io::Result<Self> {
        // A connection now finds out what every later one would.
        UnixStream::connect(agent)?;
        let path = folder.join(name);
        // A socket's address holds 107 bytes, and folders may have longer names.
        let opened = File::open(folder)?;
        let address = format!("/proc/self/fd/{}/{name}", opened.as_raw_fd());
        let listener = UnixListener::bind(&address)?;
        let own = owner == (0, 0) || chown(&path, Some(owner.0), Some(owner.1)).is_ok();
        // An owner that cannot be given must be able to connect all the same.
        let mode = if own { mode } else { mode | 0o666 };
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let (stop, agent) = (Arc::clone(&stopped), agent.to_owned());
        let thread = std::thread::Builder::new()
            .name("ssh agent".to_owned())
            .spawn(move || pass_on(&listener, &agent, &stop))?;
        Ok(Self { path, stopped, thread: Some(thread) })
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let folder = self.path.parent().and_then(|folder| File::open(folder).ok());
        let name = self.path.file_name().unwrap_or_default().display().to_string();
        let woken = folder.is_some_and(|folder| {
            UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())).is_ok()
        });
        // A listener that cannot be woken ends with the process.
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

fn pass_on(listener: &UnixListener, agent: &Path, stopped: &AtomicBool) {
    for client in listener.incoming() {
        if stopped.load(Ordering::Acquire) {
            return;
        }
        // An agent that went away closes the connection, which the step's program reports.
        if let (Ok(client), Ok(agent)) = (client, UnixStream::connect(agent)) {
            std::thread::spawn(move || talk(&client, &agent));
        }
    }
}

fn talk(client: &UnixStream, agent: &UnixStream) {
    std::thread::scope(|threads| {
        threads.spawn(|| one_way(client, agent));
        one_way(agent, client);
    });
}

fn one_way(mut from: &UnixStream, mut to: &UnixStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn what_is_said_reaches_the_agent_and_its_answer_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let agent = folder.path().join("agent");
        let listener = UnixListener::bind(&agent).unwrap();
        let answering = std::thread::spawn(move || {
            // The first connection only looks whether anybody is there.
            listener.accept().unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 4];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(&question).unwrap();
        });
        let socket = AgentSocket::open(folder.path(), "ours", &agent, 0o600, (0, 0)).unwrap();
        let mut stream = UnixStream::connect(&socket.path).unwrap();
        stream.write_all(b"keys").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "keys");
        answering.join().unwrap();
    }

    #[test]
    fn an_agent_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(AgentSocket::open(folder.path(), "ours", Path::new("/nowhere"), 0o600, (0, 0)).is_err());
    }
}
