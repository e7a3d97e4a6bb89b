//! The outer side: starts this program again as the sandbox process and listens to it.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;

use super::channel::Channel;
use super::command::OutputStream;
use super::error::SandboxError;
use super::message::{Order, Report, Request, Role, Task};

/// The hidden argument that makes the program become a sandbox.
pub(super) const ENTRY: &str = "__sandbox";

/// Bytes given to a listener at once.
const PIECE: usize = 64 << 10;

/// A sandbox process. Dropping it kills everything inside.
pub(super) struct Process {
    child: Child,
    channel: Channel,
}

/// A sandbox process with the streams of its command.
pub(super) struct Launched {
    pub(super) process: Process,
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
}

/// Starts `program` as a sandbox and gives it `task`.
pub(super) fn launch(
    program: &Path,
    task: Task,
    files: &[(Role, BorrowedFd<'_>)],
) -> Result<Launched, SandboxError> {
    let failed =
        |error: io::Error| SandboxError::Launch { program: program.to_owned(), source: error.into() };
    let (stdout, stdout_inside) = io::pipe().map_err(failed)?;
    let (stderr, stderr_inside) = io::pipe().map_err(failed)?;
    let (channel, theirs) = Channel::pair().map_err(failed)?;
    let child = std::process::Command::new(program)
        .arg(ENTRY)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs.into_descriptor()))
        .stdout(stdout_inside)
        .stderr(stderr_inside)
        .spawn()
        .map_err(failed)?;
    let process = Process { child, channel };
    let (roles, descriptors): (Vec<_>, Vec<_>) = files.iter().copied().unzip();
    process.channel.send_with(&Request { files: roles, task }, &descriptors).map_err(failed)?;
    Ok(Launched { process, stdout, stderr })
}

impl Process {
    /// Waits for what the sandbox says next, and the files that come with it.
    pub(super) fn next_report(&mut self) -> Result<(Report, Vec<OwnedFd>), SandboxError> {
        match self.channel.receive::<Report>() {
            Ok(Some(received)) => Ok(received),
            Ok(None) | Err(_) => Err(self.lost()),
        }
    }

    pub(super) fn tell(&mut self, order: &Order) -> Result<(), SandboxError> {
        self.channel.send(order).map_err(|_| self.lost())
    }

    /// Returns a second way to [`tell`](Self::tell), for while another thread listens.
    pub(super) fn orders(&self) -> io::Result<Channel> {
        self.channel.try_clone()
    }

    pub(super) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Says how the process ended that should have reported.
    pub(super) fn lost(&mut self) -> SandboxError {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        SandboxError::Lost { status }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends by itself when told to, and tidies up; killing it would leave that to nobody.
        let _ = self.channel.send(&Order::Kill);
        let _ = rustix::net::shutdown(&self.channel, rustix::net::Shutdown::Write);
        let _ = self.child.wait();
    }
}

impl Launched {
    /// Gives every byte of the command's output to `output` until both streams end, every report to
    /// `listener`, and returns the last one.
    pub(super) fn pump(
        self,
        output: &mut dyn FnMut(OutputStream, &[u8]),
        listener: &mut dyn FnMut(&Report, Vec<OwnedFd>),
    ) -> Result<Report, SandboxError> {
        let mut process = self.process;
        let mut last = None;
        let mut streams =
            [(OutputStream::Stdout, Some(self.stdout)), (OutputStream::Stderr, Some(self.stderr))];
        let mut listening = true;
        let mut buffer = vec![0; PIECE];
        while listening || streams.iter().any(|(_, stream)| stream.is_some()) {
            let (ready, reported) = wait(&streams, listening.then_some(&process.channel))?;
            for ((stream, source), ready) in streams.iter_mut().zip(ready) {
                if let Some(pipe) = source.as_mut().filter(|_| ready) {
                    match pipe.read(&mut buffer) {
                        Ok(0) | Err(_) => *source = None,
                        Ok(bytes) => output(*stream, &buffer[..bytes]),
                    }
                }
            }
            if reported {
                match process.channel.receive::<Report>() {
                    Ok(Some((report, files))) => {
                        listener(&report, files);
                        last = Some(report);
                    }
                    Ok(None) | Err(_) => listening = false,
                }
            }
        }
        last.ok_or_else(|| process.lost())
    }
}

fn wait(
    streams: &[(OutputStream, Option<PipeReader>); 2],
    channel: Option<&Channel>,
) -> Result<([bool; 2], bool), SandboxError> {
    let mut sources = Vec::with_capacity(3);
    sources.extend(streams.iter().filter_map(|(_, stream)| stream.as_ref()).map(|stream| poll_for(stream)));
    sources.extend(channel.map(|channel| poll_for(channel)));
    rustix::io::retry_on_intr(|| poll(&mut sources, None))
        .map_err(|errno| SandboxError::setup("wait for the sandbox", errno))?;
    let mut ready = sources.iter().map(|source| !source.revents().is_empty());
    let mut next = |asked: bool| asked && ready.next().expect("one source for each that was asked for");
    let pipes = [next(streams[0].1.is_some()), next(streams[1].1.is_some())];
    Ok((pipes, next(channel.is_some())))
}

fn poll_for<'a>(source: &'a impl AsFd) -> PollFd<'a> {
    PollFd::new(source, PollFlags::IN)
}
