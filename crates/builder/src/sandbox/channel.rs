//! Messages between the outer process and the sandbox: JSON in frames, with open files beside them.
//!
//! A frame is eight bytes (length of the body and number of files, both little-endian 32 bits), which
//! carry the files, followed by the body. Both ends are the same binary, so the format has no version.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A command line and environment of the kernel's largest size fit several times.
const LARGEST_BODY: usize = 64 << 20;
/// The kernel passes at most 253 files at once; a service has at most as many ports.
const MOST_FILES: usize = 128;

/// One end of the conversation.
#[derive(Debug)]
pub(super) struct Channel {
    socket: UnixStream,
}

impl Channel {
    /// Makes both ends.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self { socket: one }, Self { socket: other }))
    }

    pub(super) fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self { socket: UnixStream::from(descriptor) }
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()? })
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        OwnedFd::from(self.socket)
    }

    pub(super) fn send(&self, message: &impl Serialize) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// Sends a message and open files, which arrive in this order.
    pub(super) fn send_with(&self, message: &impl Serialize, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        if body.len() > LARGEST_BODY || files.len() > MOST_FILES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "message to the sandbox is too large"));
        }
        let mut header = [0; 8];
        header[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        header[4..].copy_from_slice(&(files.len() as u32).to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(files));
        }
        sendmsg(&self.socket, &[IoSlice::new(&header)], &mut ancillary, SendFlags::NOSIGNAL)?;
        (&self.socket).write_all(&body)
    }

    /// Waits for a message; `None` when the other end is closed.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut header = [0; 8];
        let mut files = Vec::new();
        let read = self.receive_header(&mut header, &mut files)?;
        if read == 0 {
            return Ok(None);
        }
        (&self.socket).read_exact(&mut header[read..])?;
        let [length, count] =
            [0, 4].map(|at| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes")) as usize);
        if length > LARGEST_BODY || count != files.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "malformed message in the sandbox"));
        }
        let mut body = vec![0; length];
        (&self.socket).read_exact(&mut body)?;
        Ok(Some((serde_json::from_slice(&body)?, files)))
    }

    fn receive_header(&self, header: &mut [u8; 8], files: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.socket, &mut [IoSliceMut::new(header)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        });
        let bytes = match received {
            Ok(message) => message.bytes,
            // The other end died with something of ours unread.
            Err(rustix::io::Errno::CONNRESET) => return Ok(0),
            Err(errno) => return Err(errno.into()),
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                files.extend(received);
            }
        }
        Ok(bytes)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_files_arrive_in_order() {
        let (one, other) = Channel::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        one.send_with(&"first", &[writer.as_fd()]).unwrap();
        one.send(&"second").unwrap();
        drop((one, writer));
        let (text, files) = other.receive::<String>().unwrap().unwrap();
        assert_eq!((text.as_str(), files.len()), ("first", 1));
        std::fs::File::from(files.into_iter().next().unwrap()).write_all(b"through").unwrap();
        let mut through = String::new();
        reader.read_to_string(&mut through).unwrap();
        assert_eq!(through, "through");
        assert_eq!(other.receive::<String>().unwrap().unwrap().0, "second");
        assert!(other.receive::<String>().unwrap().is_none());
    }

    #[test]
    fn a_frame_longer_than_the_limit_is_refused() {
        let (one, other) = Channel::pair().unwrap();
        (&one.socket).write_all(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).unwrap();
        assert!(other.receive::<String>().is_err());
    }
}
