//! The mounts that whoever starts a command asks for.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_bind_recursive, unmount};

use super::overlay;
use super::surroundings::{Tree, failed, is_directory};
use crate::sandbox::command::{Content, Mount};
use crate::sandbox::error::{Cause, SandboxError};
use crate::sandbox::system::{self, Reach};

impl Tree {
    /// Mounts one of them.
    pub(super) fn asked_for(&self, mount: &Mount, user_namespace: bool) -> Result<(), SandboxError> {
        let place = self.place(mount.target(), is_directory(mount)?)?;
        match mount {
            Mount::Bind { source, target, read_only } => {
                let cannot = |cause: Cause| failed(&source.display().to_string(), target, cause);
                mount_bind_recursive(source, &place).map_err(|errno| cannot(errno.into()))?;
                if *read_only {
                    system::make_read_only(&place, Reach::Tree).map_err(|error| cannot(error.into()))?;
                }
                Ok(())
            }
            Mount::Tmpfs { target, size } => {
                let flags = MountFlags::NOSUID | MountFlags::NODEV;
                let size = size.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
                let options = CString::new(format!("mode=1777{size}")).expect("a number holds no NUL");
                rustix::mount::mount("tmpfs", &place, "tmpfs", flags, options.as_c_str())
                    .map_err(|errno| failed("tmpfs", target, errno))
            }
            Mount::Layers { lowers, writes, source, target, .. } => {
                // They are joined in the memory behind `/dev` first, because a part of them may be all that
                // is to be seen; what is mounted from there stays when that goes.
                let staging = self.root.join("dev/.layers");
                let cannot = |error: io::Error| failed("layers", target, error);
                fs::create_dir(&staging).map_err(cannot)?;
                overlay::mount_layers(lowers, writes.as_ref(), &staging, user_namespace)?;
                let wanted = staging.join(source);
                mount_bind(&wanted, &place).map_err(|errno| cannot(errno.into()))?;
                if writes.is_none() {
                    system::make_read_only(&place, Reach::Mount).map_err(cannot)?;
                }
                unmount(&staging, UnmountFlags::DETACH).map_err(|errno| cannot(errno.into()))?;
                fs::remove_dir(&staging).map_err(cannot)
            }
            Mount::File { content, mode, uid, gid, target } => {
                let scratch = self.root.join("dev/.file");
                write_file(&scratch, content, *mode, (*uid, *gid))
                    .and_then(|()| Ok(mount_bind(&scratch, &place)?))
                    .and_then(|()| system::make_read_only(&place, Reach::Mount))
                    // The mount keeps the file.
                    .and_then(|()| fs::remove_file(&scratch))
                    .map_err(|error| failed("a file", target, error))
            }
        }
    }
}

pub(super) fn write_file(path: &Path, content: &Content, mode: u32, owner: (u32, u32)) -> io::Result<()> {
    fs::write(path, &content.0)?;
    match chown(path, Some(owner.0), Some(owner.1)) {
        // With a single id mapped there is no other owner to give it to.
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INVAL) => return Err(error),
        _ => {}
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
