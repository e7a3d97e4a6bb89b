//! System calls of a command that the kernel asks the sandbox about instead of making them.
//!
//! Source: seccomp_unotify(2); seccomp(2), "SECCOMP_FILTER_FLAG_NEW_LISTENER".
#![allow(unsafe_code, reason = "seccomp has no safe form; each call says why it is sound")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

/// The architecture that a system call is made for, where it is this program's own.
/// Source: linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: u32 = 0;

/// Where the filter finds number and architecture of a call. Source: linux/seccomp.h, `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// The longest path the kernel takes.
const LONGEST_PATH: usize = 4096;

/// A system call that waits for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    id: u64,
    /// Who makes it, as this process numbers processes.
    pub(super) process: u32,
    /// Which.
    pub(super) call: i64,
    /// Its arguments.
    pub(super) arguments: [u64; 6],
}

impl Question {
    /// A question that nobody asked, for tests of what is made of it.
    #[cfg(test)]
    pub(super) fn of(process: u32, call: i64, arguments: [u64; 6]) -> Self {
        Self { id: 0, process, call, arguments }
    }
}

/// Makes the kernel ask about `calls` of this process and all it starts, for good, and returns the file
/// through which it asks. Calls of programs for another architecture are not asked about.
pub(super) fn ask_about(calls: &[i64]) -> io::Result<OwnedFd> {
    let program = program(calls);
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the filter and its instructions outlive the call, which copies them.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &filter,
        )
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as i32) })
}

fn program(calls: &[i64]) -> Vec<libc::sock_filter> {
    let step = |code: u32, jump: (u8, u8), operand: u32| libc::sock_filter {
        code: code as u16,
        jt: jump.0,
        jf: jump.1,
        k: operand,
    };
    let load = |at| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), at);
    let equals = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = |what| step(libc::BPF_RET | libc::BPF_K, (0, 0), what);
    let count = calls.len() as u8;
    let mut program =
        vec![load(ARCHITECTURE_AT), step(equals, (0, count + 1), ARCHITECTURE), load(NUMBER_AT)];
    for (index, call) in (0_u8..).zip(calls) {
        program.push(step(equals, (count - index, 0), *call as u32));
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program.push(answer(libc::SECCOMP_RET_USER_NOTIF));
    program
}

/// Takes the next question; `None` where the one who asked is gone already.
pub(super) fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Question>> {
    // SAFETY: all zeroes is what the kernel wants to be given.
    let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one structure of this kind.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &mut asked) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::INTR) => Ok(None),
            _ => Err(error),
        };
    }
    Ok(Some(Question {
        id: asked.id,
        process: asked.pid,
        call: i64::from(asked.data.nr),
        arguments: asked.data.args,
    }))
}

/// Whether the one who asked still waits: what was read from a process that ended may be another's.
pub(super) fn is_waiting(listener: BorrowedFd<'_>, question: &Question) -> bool {
    // SAFETY: the call reads one number.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &question.id) == 0 }
}

/// Lets the call end with success or an error. Whoever is gone needs no answer.
pub(super) fn answer(listener: BorrowedFd<'_>, question: &Question, result: Result<(), Errno>) {
    // SAFETY: a structure of numbers.
    let mut response: libc::seccomp_notif_resp = unsafe { std::mem::zeroed() };
    response.id = question.id;
    response.error = result.err().map_or(0, |errno| -errno.raw_os_error());
    // SAFETY: the call reads one structure of this kind.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &mut response) };
}

/// Reads a path from the memory of another process.
pub(super) fn read_path(process: u32, address: u64) -> Result<Vec<u8>, Errno> {
    const PAGE: usize = 4096;
    let mut path = Vec::new();
    let mut at = address as usize;
    while path.len() < LONGEST_PATH {
        // Not past the end of a page: the next one may not be there, and then nothing is read.
        let mut piece = vec![0; PAGE - at % PAGE];
        let local = libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() };
        let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: piece.len() };
        // SAFETY: writes into `piece` alone, as much as that holds.
        let read = unsafe { libc::process_vm_readv(process as i32, &local, 1, &remote, 1, 0) };
        let Some(read) = usize::try_from(read).ok().filter(|read| *read > 0) else {
            return Err(Errno::FAULT);
        };
        if let Some(end) = piece[..read].iter().position(|byte| *byte == 0) {
            path.extend_from_slice(&piece[..end]);
            return Ok(path);
        }
        path.extend_from_slice(&piece[..read]);
        at += read;
    }
    Err(Errno::NAMETOOLONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_across_pages_and_not_past_their_end() {
        let own = std::process::id();
        let mut memory = vec![b'x'; 3 * 4096];
        let start = memory.len() - 4096 - 4096;
        memory[start + 3000] = 0;
        let address = memory[start..].as_ptr() as u64;
        assert_eq!(read_path(own, address).unwrap().len(), 3000);
        assert_eq!(read_path(own, 8), Err(Errno::FAULT));
        memory[start + 3000] = b'x';
        assert_eq!(read_path(own, memory.as_ptr() as u64), Err(Errno::NAMETOOLONG));
    }

    #[test]
    fn the_filter_asks_about_the_named_calls_of_this_architecture() {
        let program = program(&[92, 260]);
        let lines: Vec<_> = program.iter().map(|step| (step.code, step.jt, step.jf, step.k)).collect();
        assert_eq!(
            lines,
            [
                (0x20, 0, 0, 4),
                (0x15, 0, 3, ARCHITECTURE),
                (0x20, 0, 0, 0),
                (0x15, 2, 0, 92),
                (0x15, 1, 0, 260),
                (0x06, 0, 0, 0x7fff_0000),
                (0x06, 0, 0, 0x7fc0_0000),
            ]
        );
    }
}
