//! Copying between files without moving the bytes through this process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use rustix::fs::copy_file_range;
use rustix::io::Errno;

/// Copies `size` bytes from `source`, starting at `offset`, to the current position of `target`.
///
/// On file systems that can, nothing is copied but extents are shared. Where the kernel cannot copy
/// between the two files, the bytes are read and written.
pub(crate) fn copy_in_kernel(source: &File, offset: u64, size: u64, target: &File) -> io::Result<()> {
    let (mut position, end) = (offset, offset + size);
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(source, Some(&mut position), target, None, wanted) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::BADF) => {
                return copy_through_memory(source, position, end - position, target);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn copy_through_memory(mut source: &File, offset: u64, size: u64, mut target: &File) -> io::Result<()> {
    source.seek(SeekFrom::Start(offset))?;
    let mut buffer = vec![0; 256 << 10];
    let mut left = source.take(size);
    loop {
        match left.read(&mut buffer)? {
            0 if left.limit() > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => return Ok(()),
            count => target.write_all(&buffer[..count])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(copy: fn(&File, u64, u64, &File) -> io::Result<()>) {
        let mut source = tempfile::tempfile().unwrap();
        source.write_all(b"0123456789").unwrap();
        let mut target = tempfile::tempfile().unwrap();
        target.write_all(b"x").unwrap();
        copy(&source, 2, 5, &target).unwrap();
        let mut text = String::new();
        target.rewind().unwrap();
        target.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x23456");
        let error = copy(&source, 8, 5, &target).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn copies_the_range_and_tells_a_short_source() {
        check(copy_in_kernel);
        check(copy_through_memory);
    }
}
