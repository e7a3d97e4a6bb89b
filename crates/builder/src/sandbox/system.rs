//! System calls that no safe interface offers, each behind a safe function with its reason.
//!
//! Everything here but [`execute`] is meant for the sandbox process, which has one thread.
#![allow(
    unsafe_code,
    reason = "fork, unshare, execve and a few calls have no safe form; this file is their only home"
)]

use std::ffi::{CStr, CString, OsStr, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Runs `child` in a new process, which ends with the code it returns.
pub(super) fn fork(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the caller has one thread, so the copy holds no lock of another one and may allocate.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends this process without running what belongs to its parent (buffers, destructors).
            unsafe { libc::_exit(ended.unwrap_or(70)) }
        }
        pid => Ok(Pid::from_raw(pid).expect("fork gives a positive number to the parent")),
    }
}

/// Leaves the namespaces of `flags` for new ones.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: only dangerous with `FILES`, which nobody here asks for.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Becomes the program at `path`; returns only when that fails.
pub(super) fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let [arguments, environment] = [arguments, environment].map(null_terminated);
    // SAFETY: both tables end with a null pointer and the strings they point to outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn null_terminated(words: &[CString]) -> Vec<*const c_char> {
    words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Closes every file of this process but the three standard streams and `kept`.
///
/// For the first moments of a new process only: whatever value still stands for one of the closed files
/// belongs to the parent's half of the program and is never used or dropped here.
pub(super) fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<u32> = kept.iter().map(|file| file.as_raw_fd() as u32).collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers.into_iter().filter(|number| *number >= 3) {
        close_range(first, number - 1)?;
        first = number + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the callers above say why nobody uses these files any more.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })
}

/// Takes a file number this process was started with.
pub(super) fn duplicate(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: standard streams stay open for the life of the process.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 3)?)
}

/// Holds back every signal of this process until it asks for them with [`next_signal`].
pub(super) fn hold_signals() -> io::Result<()> {
    change_mask(libc::SIG_BLOCK)
}

/// Gives this process the signal handling a program expects to start with.
pub(super) fn reset_signals() -> io::Result<()> {
    for signal in 1..=64 {
        // All zeroes: the default action, no flags, nothing masked. Not through the C library, which keeps two
        // signals to itself and would leave them ignored where this program's parent ignores them.
        let action = [0_u64; 4];
        let set_size = size_of::<u64>();
        // SAFETY: the call reads as much as the kernel's structure takes, which is not more than `action`; the
        // signals that allow no action are refused.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, &action, std::ptr::null_mut::<u64>(), set_size)
        };
    }
    change_mask(libc::SIG_UNBLOCK)
}

fn change_mask(how: i32) -> io::Result<()> {
    // SAFETY: `sigfillset` makes the set whole before it is read.
    checked(unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(how, &all, std::ptr::null_mut())
    })
}

/// Waits for the next held signal and returns its number.
pub(super) fn next_signal() -> i32 {
    loop {
        // SAFETY: the set is made whole before it is read; nothing is written through the null pointer.
        let signal = unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::sigwaitinfo(&all, std::ptr::null_mut())
        };
        if signal > 0 {
            return signal;
        }
    }
}

/// How far a change of a mount goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// This mount alone.
    Mount,
    /// This mount and all mounts below it.
    Tree,
}

/// `struct mount_attr` of linux/mount.h; [`libc`] has it not on every target.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 1;

/// Makes a mount read-only, whatever its other flags are. Needs Linux 5.12.
pub(super) fn make_read_only(target: &Path, reach: Reach) -> io::Result<()> {
    let path = CString::new(target.as_os_str().as_bytes())?;
    let attributes = MountAttributes { set: MOUNT_ATTR_RDONLY, clear: 0, propagation: 0, user_namespace: 0 };
    let flags = if reach == Reach::Tree { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path and attributes outlive the call, which is told the size of the attributes.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &attributes,
            size_of::<MountAttributes>(),
        )
    })
}

/// Switches the loopback interface of this network namespace on.
pub(super) fn raise_loopback() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: all zeroes is a valid `ifreq`; name and flags are set before the call reads them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(OsStr::new("lo").as_bytes()) {
        *place = *byte as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the call reads one `ifreq`.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })
}

/// Leaves the keys that the kernel keeps for the caller's session for an empty ring of this process' own.
pub(super) fn leave_keyring() {
    let join_session_keyring = 1;
    // SAFETY: the null pointer asks for a ring without a name. A kernel without keys has none to leave.
    unsafe { libc::syscall(libc::SYS_keyctl, join_session_keyring, std::ptr::null::<c_char>()) };
}

fn checked(result: impl Into<i64>) -> io::Result<()> {
    if result.into() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
