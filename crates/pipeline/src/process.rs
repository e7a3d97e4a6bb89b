//! A command on this machine with a time limit: what a suite's `host` line runs.
//!
//! The command and everything it starts is one process group, which is killed when the time is
//! over and once more when the command ends, so that nothing of a suite outlives it.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// A command of this machine.
#[derive(Clone, Debug)]
pub(crate) struct HostCommand {
    /// The program and its arguments.
    pub words: Vec<String>,
    pub folder: PathBuf,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    pub timeout: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostExit {
    Code(i32),
    Signal(i32),
    TimedOut,
}

impl std::fmt::Display for HostExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::TimedOut => write!(f, "took longer than its time limit"),
        }
    }
}

impl HostCommand {
    /// Runs the command to its end and hands what it prints, both streams in one, to `output`.
    ///
    /// # Errors
    /// The shell cannot be started, or the system refuses to wait for it.
    pub fn run(&self, output: &mut dyn FnMut(&[u8])) -> io::Result<HostExit> {
        let (mut reader, writer) = io::pipe()?;
        let (program, arguments) = self
            .words
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .spawn()?;
        let group = Pid::from_child(&child);
        let finished = wait(&child, &mut reader, self.timeout, output);
        // Errors mean that nothing of the group is left, which is what is wanted.
        let _ = kill_process_group(group, Signal::KILL);
        let status = child.wait()?;
        drain(&mut reader, output)?;
        Ok(if finished? { exit(status) } else { HostExit::TimedOut })
    }
}

/// Waits for the child's end; `false` where the time was over first.
fn wait(
    child: &Child,
    reader: &mut PipeReader,
    timeout: Duration,
    output: &mut dyn FnMut(&[u8]),
) -> io::Result<bool> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    fcntl_setfl(reader.as_fd(), fcntl_getfl(reader.as_fd())? | OFlags::NONBLOCK)?;
    let started = Instant::now();
    let mut open = true;
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut events = vec![PollFd::new(&process, PollFlags::IN)];
        if open {
            events.push(PollFd::new(&*reader, PollFlags::IN));
        }
        match poll(&mut events, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = !events[0].revents().is_empty();
        let readable = events.get(1).is_some_and(|event| !event.revents().is_empty());
        drop(events);
        if readable {
            open = drain(reader, output)?;
        }
        if ended {
            return Ok(true);
        }
    }
}

/// Takes what is there; `false` at the end of the stream.
fn drain(reader: &mut PipeReader, output: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => output(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn exit(status: ExitStatus) -> HostExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => HostExit::Code(code),
        (None, signal) => HostExit::Signal(signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str, timeout: Duration) -> (HostExit, String) {
        let command = HostCommand {
            words: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            folder: "/".into(),
            environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("ONLY".into(), "this".into())],
            timeout,
        };
        let mut text = Vec::new();
        let exit = command.run(&mut |bytes| text.extend_from_slice(bytes)).unwrap();
        (exit, String::from_utf8(text).unwrap())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn both_streams_and_the_code_arrive() {
        let (exit, text) = run("echo out; echo err >&2; exit 3", LONG);
        assert_eq!((exit, text.as_str()), (HostExit::Code(3), "out\nerr\n"));
    }

    #[test]
    fn nothing_of_our_environment_is_inherited() {
        let (_, text) = run("env", LONG);
        assert!(text.contains("ONLY=this") && !text.contains("CARGO"), "{text}");
    }

    #[test]
    fn a_signal_is_told_apart() {
        assert_eq!(run("kill -9 $$", LONG).0, HostExit::Signal(9));
    }

    #[test]
    fn the_time_limit_ends_the_whole_group() {
        // The child holds a pipe of ours: its end is read when the last of the group is gone.
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe).unwrap()
        });
        let line = format!("{{ echo begun; sleep 1000; echo survived; }} > {} & wait", pipe.display());
        assert_eq!(run(&line, Duration::from_secs(3)).0, HostExit::TimedOut);
        assert_eq!(reader.join().unwrap(), b"begun\n");
    }

    #[test]
    fn a_child_left_behind_does_not_hold_us() {
        let (exit, text) = run("sleep 1000 & echo done", LONG);
        assert_eq!((exit, text.as_str()), (HostExit::Code(0), "done\n"));
    }
}
