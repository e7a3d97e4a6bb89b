//! Makes a user namespace and gives it ids.
//!
//! Source: user_namespaces(7), "Defining user and group ID mappings".

use std::fs;
use std::io;
use std::os::fd::AsFd;

use rustix::thread::UnshareFlags;

use crate::sandbox::channel::Channel;
use crate::sandbox::error::SandboxError;
use crate::sandbox::message::{Mapping, Order, Report};
use crate::sandbox::system;

/// Makes a user namespace, sends it to the caller, and leaves it to live by the caller's file.
pub(super) fn make_user_namespace(channel: &Channel, mapping: Mapping) -> Result<(), SandboxError> {
    let own = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()];
    system::unshare(UnshareFlags::NEWUSER)
        .map_err(|error| SandboxError::setup("make a user namespace", error))?;
    match mapping {
        Mapping::OwnId => {
            map_own_id(own).map_err(|error| SandboxError::setup("map a single id", error))?;
        }
        Mapping::FromOutside => wait_for_ids(channel)?,
    }
    let talk = |error: io::Error| SandboxError::setup("hand the user namespace over", error);
    let namespace = fs::File::open("/proc/self/ns/user").map_err(talk)?;
    channel.send_with(&Report::UserNamespace, &[namespace.as_fd()]).map_err(talk)
}

fn map_own_id([uid, gid]: [u32; 2]) -> io::Result<()> {
    // Without this the kernel gives no group to an ordinary user.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn wait_for_ids(channel: &Channel) -> Result<(), SandboxError> {
    let talk = |error: io::Error| SandboxError::setup("wait for subordinate ids", error);
    channel.send(&Report::WaitsForIds).map_err(talk)?;
    match channel.receive::<Order>().map_err(talk)? {
        Some((Order::Continue, _)) => Ok(()),
        _ => Err(talk(io::Error::other("the caller gave none"))),
    }
}
