//! From a socket to a file without the bytes coming into this process.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// How much the pipe takes, as far as the kernel lets it. It holds references to what the socket received.
const PIPE_BYTES: usize = 1 << 20;

/// A pipe, which is what the kernel wants in between. It is empty between two calls of
/// [`crate::Ingest::draw`], so one can serve several blobs in turn.
#[derive(Debug)]
pub struct Funnel {
    end: OwnedFd,
    mouth: OwnedFd,
}

impl Funnel {
    /// Makes a pipe.
    ///
    /// # Errors
    /// The process has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        let (end, mouth) = pipe_with(PipeFlags::CLOEXEC)?;
        // Where it is not allowed to be larger it only takes more turns.
        let _ = fcntl_setpipe_size(&mouth, PIPE_BYTES);
        Ok(Self { end, mouth })
    }

    /// Takes up to `most` bytes out of the socket, without waiting for them.
    pub(super) fn fill(&self, socket: impl AsFd, most: usize) -> io::Result<usize> {
        loop {
            match splice(&socket, None, &self.mouth, None, most.min(PIPE_BYTES), SpliceFlags::NONBLOCK) {
                Err(Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Moves the `count` bytes that are in it to the file's position.
    pub(super) fn empty(&self, file: &File, mut count: usize) -> io::Result<()> {
        while count > 0 {
            match splice(&self.end, None, file, None, count, SpliceFlags::MOVE) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(moved) => count -= moved,
                Err(Errno::INTR) => {}
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    return self.empty_through_memory(file, count);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// For file systems that take nothing from pipes.
    fn empty_through_memory(&self, mut file: &File, mut count: usize) -> io::Result<()> {
        let mut pipe = File::from(self.end.try_clone()?);
        let mut buffer = vec![0; 64 << 10];
        while count > 0 {
            let most = buffer.len().min(count);
            match pipe.read(&mut buffer[..most]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    file.write_all(&buffer[..read])?;
                    count -= read;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[track_caller]
    fn check(empty: fn(&Funnel, &File, usize) -> io::Result<()>) {
        let (mut one, two) = UnixStream::pair().unwrap();
        let funnel = Funnel::new().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"there: ").unwrap();
        for piece in [&b"hello "[..], b"world"] {
            one.write_all(piece).unwrap();
            let count = funnel.fill(&two, 100).unwrap();
            empty(&funnel, &file, count).unwrap();
        }
        assert_eq!(funnel.fill(&two, 100).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        one.write_all(b"0123456789").unwrap();
        assert_eq!(funnel.fill(&two, 4).unwrap(), 4);
        empty(&funnel, &file, 4).unwrap();
        drop(one);
        assert_eq!(funnel.fill(&two, 100).unwrap(), 6);
        empty(&funnel, &file, 6).unwrap();
        assert_eq!(funnel.fill(&two, 100).unwrap(), 0);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "there: hello world0123456789");
    }

    #[test]
    fn what_the_socket_has_comes_behind_what_the_file_has() {
        check(Funnel::empty);
        check(Funnel::empty_through_memory);
    }
}
