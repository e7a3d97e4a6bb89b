//! Carries connections from the machine's loopback to a service's own.
//!
//! A listening socket belongs to the network namespace it was made in, whoever holds it. The caller
//! listens outside; this process, inside, accepts there and connects here. No interface has to be made,
//! so an ordinary user may have it too.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::privileges;
use crate::sandbox::error::SandboxError;
use crate::sandbox::system;

/// Connections carried at once, for all ports of a service together; more have to wait.
const MOST_CONNECTIONS: usize = 512;
const PIECE: usize = 64 << 10;
/// Within a loopback an answer comes at once, unless the queue of the service is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A service's port and the caller's listening socket for it.
pub(super) struct Door {
    pub(super) port: u16,
    pub(super) listener: OwnedFd,
}

/// Starts the relay in this network namespace. It ends with the supervisor.
pub(super) fn start(doors: Vec<Door>) -> Result<Option<Pid>, SandboxError> {
    if doors.is_empty() {
        return Ok(None);
    }
    let supervisor = rustix::process::getpid();
    let relay = system::fork(move || i32::from(serve(doors, supervisor).is_err()));
    relay.map(Some).map_err(|error| SandboxError::setup("start the relay of ports", error))
}

/// Connects to a service in this network namespace, as its clients would.
pub(super) fn connect(port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let [first, second] = addresses.map(|address| SocketAddr::new(address, port));
    TcpStream::connect_timeout(&first, timeout)
        .or_else(|error| TcpStream::connect_timeout(&second, timeout).map_err(|_| error))
}

fn serve(doors: Vec<Door>, supervisor: Pid) -> io::Result<()> {
    let kept: Vec<_> = doors.iter().map(|door| door.listener.as_fd()).collect();
    system::close_all_but(&kept)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(supervisor) {
        // It died before the line above.
        return Ok(());
    }
    privileges::raise_open_files();
    let slots = Slots::default();
    std::thread::scope(|scope| {
        for door in doors {
            let slots = &slots;
            scope.spawn(move || accept_all(&TcpListener::from(door.listener), door.port, slots));
        }
    });
    Ok(())
}

fn accept_all(listener: &TcpListener, port: u16, slots: &Slots) {
    std::thread::scope(|scope| {
        loop {
            slots.take();
            match listener.accept() {
                Ok((client, _)) => {
                    let carry = move || {
                        let _ = carry(&client, port);
                        slots.give_back();
                    };
                    if std::thread::Builder::new().spawn_scoped(scope, carry).is_err() {
                        slots.give_back();
                    }
                }
                Err(error) => {
                    slots.give_back();
                    // Anything else concerns one connection only.
                    if error.kind() == io::ErrorKind::InvalidInput {
                        return;
                    }
                }
            }
        }
    });
}

/// Carries one connection until both directions are finished.
fn carry(client: &TcpStream, port: u16) -> io::Result<()> {
    let service = match connect(port, CONNECT_TIMEOUT) {
        Ok(service) => service,
        Err(error) => {
            // The client shall see a reset, as if nobody listened, and not an empty answer.
            let _ = rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO));
            return Err(error);
        }
    };
    for stream in [client, &service] {
        stream.set_nodelay(true)?;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| copy(client, &service));
        copy(&service, client);
    });
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(bytes) if to.write_all(&buffer[..bytes]).is_ok() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => {
                // One side is gone; the other direction must not wait for it.
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

/// Counts connections.
#[derive(Default)]
struct Slots {
    taken: Mutex<usize>,
    freed: Condvar,
}

impl Slots {
    fn take(&self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= MOST_CONNECTIONS {
            taken = self.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
    }

    fn give_back(&self) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.freed.notify_one();
    }
}
