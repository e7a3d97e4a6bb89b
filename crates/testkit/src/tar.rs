//! A second, independent writer of small tar archives, so that the readers of `layer` are not only
//! tested on what `layer` wrote. It can also write what no honest tool would.
//!
//! Source: POSIX.1-1988 ustar; names up to 100 bytes.

/// An archive in the making.
#[derive(Default)]
pub struct TarBuilder {
    bytes: Vec<u8>,
}

/// The header fields of one entry; [`Header::file`] and its neighbours give the usual ones.
#[derive(Clone, Debug)]
pub struct Header {
    /// Written as it is, at most 100 bytes.
    pub name: String,
    /// `b'0'` file, `b'1'` hard link, `b'2'` symbolic link, `b'5'` folder, ...
    pub kind: u8,
    /// Permission bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Target of a link, at most 100 bytes.
    pub link: String,
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

impl Header {
    /// Returns a regular file, mode 0644, of root, at time 0.
    pub fn file(name: &str) -> Self {
        Self::of(b'0', name, 0o644, "")
    }

    /// Returns a folder, mode 0755.
    pub fn directory(name: &str) -> Self {
        Self::of(b'5', name, 0o755, "")
    }

    /// Returns a symbolic link.
    pub fn symlink(name: &str, target: &str) -> Self {
        Self::of(b'2', name, 0o777, target)
    }

    /// Returns a hard link.
    pub fn hardlink(name: &str, target: &str) -> Self {
        Self::of(b'1', name, 0o644, target)
    }

    fn of(kind: u8, name: &str, mode: u32, link: &str) -> Self {
        let (name, link) = (name.to_owned(), link.to_owned());
        Self { name, kind, mode, uid: 0, gid: 0, mtime: 0, link, device: (0, 0) }
    }
}

impl TarBuilder {
    /// Returns an archive without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry with its content, which is empty for everything but files.
    #[must_use]
    pub fn entry(mut self, header: &Header, content: &[u8]) -> Self {
        self.bytes.extend(block(header, content.len() as u64));
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// Adds a regular file.
    #[must_use]
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(&Header::file(name), content)
    }

    /// Adds a folder.
    #[must_use]
    pub fn directory(self, name: &str) -> Self {
        self.entry(&Header::directory(name), &[])
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(&Header::symlink(name, target), &[])
    }

    /// Returns the archive with its end mark.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }
}

fn block(header: &Header, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    put(&mut block, 0, 100, header.name.as_bytes());
    put(&mut block, 100, 8, format!("{:07o}", header.mode).as_bytes());
    put(&mut block, 108, 8, format!("{:07o}", header.uid).as_bytes());
    put(&mut block, 116, 8, format!("{:07o}", header.gid).as_bytes());
    put(&mut block, 124, 12, format!("{size:011o}").as_bytes());
    put(&mut block, 136, 12, format!("{:011o}", header.mtime).as_bytes());
    put(&mut block, 148, 8, b"        ");
    block[156] = header.kind;
    put(&mut block, 157, 100, header.link.as_bytes());
    put(&mut block, 257, 8, b"ustar\x0000");
    put(&mut block, 329, 8, format!("{:07o}", header.device.0).as_bytes());
    put(&mut block, 337, 8, format!("{:07o}", header.device.1).as_bytes());
    let checksum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, 148, 8, format!("{checksum:06o}\0 ").as_bytes());
    block
}

#[track_caller]
fn put(block: &mut [u8; 512], start: usize, width: usize, value: &[u8]) {
    assert!(
        value.len() <= width,
        "{:?} does not fit into {width} bytes of a tar header",
        value.escape_ascii().to_string()
    );
    block[start..start + value.len()].copy_from_slice(value);
}

/// Returns names and contents of an archive's members in order, by the sizes in their headers: links
/// have no content, and long names are cut as ustar cuts them.
///
/// # Panics
/// What is no archive of this form.
pub fn members(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut members = Vec::new();
    let mut rest = tar;
    while rest.len() >= 512 && rest[0] != 0 {
        let text = |range: std::ops::Range<usize>| {
            String::from_utf8_lossy(&rest[range]).trim_end_matches(['\0', ' ']).to_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).expect("the size of a member is octal");
        members.push((text(0..100), rest[512..512 + size].to_vec()));
        rest = &rest[512 + size.div_ceil(512) * 512..];
    }
    members
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_tar_program_reads_it() {
        let archive = TarBuilder::new().directory("a/").file("a/b", b"hello").symlink("a/c", "b").finish();
        let mut tar = Command::new("tar")
            .args(["-tf", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "a/\na/b\na/c\n");
    }
}
