//! Programs for another processor: whether the kernel hands them to an emulator already, and which
//! emulator to register for the time of one command where it does not.
//!
//! | found | then |
//! |---|---|
//! | the platform is this machine's | nothing is needed |
//! | an emulator in `/proc/sys/fs/binfmt_misc` that stays open (flag F) | nothing is needed |
//! | a static `qemu-ARCHITECTURE-static` or `qemu-ARCHITECTURE` in a folder of programs | it is registered in a user namespace |
//! | none of them | an error that names the program |
//!
//! Source: Linux, Documentation/admin-guide/binfmt-misc.rst (namespaced since Linux 6.7); qemu,
//! scripts/qemu-binfmt-conf.sh; ELF specification, "ELF header".

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use oci::Platform;
use serde::{Deserialize, Serialize};

use super::error::SandboxError;

/// Where the kernel shows what is registered for this machine.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";
/// How many bytes of a program tell its machine.
const HEADER_BYTES: usize = 20;

/// An emulator and the programs that it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulator {
    /// The emulator: a static program of this machine.
    pub program: PathBuf,
    pub(super) machine: Machine,
}

/// What the first bytes of a program say about the processor it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// 1 for 32 bits, 2 for 64 bits.
    class: u8,
    /// 1 for the low byte first, 2 for the high byte first.
    order: u8,
    number: u16,
}

/// Architectures as image-spec names them, as qemu names them, and their machines.
const MACHINES: [(&str, &str, Machine); 9] = [
    ("amd64", "x86_64", Machine { class: 2, order: 1, number: 62 }),
    ("386", "i386", Machine { class: 1, order: 1, number: 3 }),
    ("arm64", "aarch64", Machine { class: 2, order: 1, number: 183 }),
    ("arm", "arm", Machine { class: 1, order: 1, number: 40 }),
    ("ppc64le", "ppc64le", Machine { class: 2, order: 1, number: 21 }),
    ("s390x", "s390x", Machine { class: 2, order: 2, number: 22 }),
    ("riscv64", "riscv64", Machine { class: 2, order: 1, number: 243 }),
    ("mips64le", "mips64el", Machine { class: 2, order: 1, number: 8 }),
    ("loong64", "loongarch64", Machine { class: 2, order: 1, number: 258 }),
];

/// Returns the emulator that commands for `platform` need, looked for in `folders`; `None` where they need none.
pub(super) fn emulator(platform: &Platform, folders: &[PathBuf]) -> Result<Option<Emulator>, SandboxError> {
    let host = Platform::host();
    if runs_natively(&host, platform) {
        return Ok(None);
    }
    let missing = |program: String, reason: &str| SandboxError::NoEmulator {
        platform: platform.to_string(),
        host: host.to_string(),
        program,
        reason: reason.to_owned(),
    };
    let known = MACHINES.iter().find(|(architecture, ..)| *architecture == platform.architecture);
    let Some((_, name, machine)) = known.filter(|_| platform.os == "linux") else {
        return Err(missing("an emulator".to_owned(), "none is known"));
    };
    if is_registered(Path::new(REGISTERED), *machine) {
        return Ok(None);
    }
    let names = [format!("qemu-{name}-static"), format!("qemu-{name}")];
    let mut places = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let mut dynamic = false;
    let found = places.find(|path| match is_static(path) {
        Some(is_static) => {
            dynamic |= !is_static;
            is_static
        }
        None => false,
    });
    let [wanted, _] = names;
    match found {
        Some(program) => Ok(Some(Emulator { program, machine: *machine })),
        None if dynamic => {
            Err(missing(wanted, "the one that is installed needs libraries, which the image lacks"))
        }
        None => Err(missing(wanted, "it is not installed")),
    }
}

/// Whether the kernel runs programs of `platform` by itself.
fn runs_natively(host: &Platform, platform: &Platform) -> bool {
    let by_the_same_processor = matches!(
        (host.architecture.as_str(), platform.architecture.as_str()),
        ("amd64", "386") | ("arm64", "arm")
    );
    platform.os == host.os && (platform.architecture == host.architecture || by_the_same_processor)
}

fn is_registered(folder: &Path, machine: Machine) -> bool {
    let is_on = |file: &str| fs::read_to_string(folder.join(file)).is_ok_and(|text| text.trim() == "enabled");
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let entries = entries.flatten().map(|entry| entry.path());
    let mut entries = entries.filter(|path| !path.ends_with("status") && !path.ends_with("register"));
    is_on("status") && entries.any(|path| fs::read_to_string(path).is_ok_and(|text| takes(&text, machine)))
}

/// Whether a registration, as the kernel shows it, takes programs of the machine and holds its emulator open.
fn takes(registration: &str, machine: Machine) -> bool {
    let mut lines = registration.lines();
    let is_on = lines.next() == Some("enabled");
    let value = |name: &str| registration.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let stays_open = value("flags:").is_some_and(|flags| flags.contains('F'));
    let at_the_start = value("offset ").is_none_or(|offset| offset == "0");
    let magic = value("magic ").and_then(bytes_of_hex);
    let mask = value("mask ").and_then(bytes_of_hex);
    let fits = |magic: Vec<u8>| {
        let header = machine.header();
        let mask = mask.unwrap_or_else(|| vec![0xff; magic.len()]);
        magic.len() <= header.len()
            && magic.iter().zip(&mask).zip(&header).all(|((wanted, mask), own)| wanted & mask == own & mask)
    };
    is_on && stays_open && at_the_start && magic.is_some_and(fits)
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.len().is_multiple_of(2).then(|| text.as_bytes().chunks(2).map(digits).collect())?
}

impl Machine {
    /// The first bytes of a program for this machine.
    fn header(self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', self.class, self.order, 1]);
        let two = |number: u16| if self.order == 1 { number.to_le_bytes() } else { number.to_be_bytes() };
        header[16..18].copy_from_slice(&two(2));
        header[18..].copy_from_slice(&two(self.number));
        header
    }

    /// Which bits of them count: all but those of the system's variant, and shared objects are programs too.
    fn mask(self) -> [u8; HEADER_BYTES] {
        let mut mask = [0xff; HEADER_BYTES];
        mask[7] = 0;
        mask[if self.order == 1 { 16 } else { 17 }] = 0xfe;
        mask
    }

    /// The line that registers the emulator at `interpreter`: it is opened once (F), keeps the program's first
    /// argument (P) and gets the privileges of the program that it runs (C).
    pub(super) fn registration(self, interpreter: &str) -> String {
        let escaped = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let (magic, mask) = (escaped(&self.header()), escaped(&self.mask()));
        format!(":plimsoll-{}:M:0:{magic}:{mask}:{interpreter}:FPC", self.number)
    }
}

/// Whether a program needs no loader; `None` where there is no program.
fn is_static(path: &Path) -> Option<bool> {
    const MOST_BYTES: u64 = 4096;
    const LOADER: u32 = 3;
    let mut head = Vec::new();
    File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut head).ok()?;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(head.get(at..at.checked_add(bytes)?)?);
        Some(u64::from_le_bytes(value))
    };
    let (table, size, count) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    let kind = |index: usize| number(table.checked_add(index.checked_mul(size)?)?, 4);
    let needs_loader = (0..count).any(|index| kind(index) == Some(u64::from(LOADER)));
    Some(!needs_loader)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM64: Machine = MACHINES[2].2;

    #[test]
    fn registrations_of_distributions_are_recognised() {
        let debian = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
                      magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        assert!(takes(debian, ARM64));
        assert!(!takes(debian, MACHINES[0].2));
        assert!(!takes(&debian.replace("enabled", "disabled"), ARM64));
        assert!(!takes(&debian.replace("POCF", "POC"), ARM64), "it would be looked for in the image");
        assert!(!takes(&debian.replace("offset 0", "offset 4"), ARM64));
        assert!(!takes("enabled\ninterpreter /usr/bin/jexec\nflags: F\nextension .jar\n", ARM64));
    }

    #[test]
    fn the_line_is_the_one_that_qemu_has() {
        let line = ARM64.registration("/proc/self/fd/9");
        let magic = r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
        let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
        assert_eq!(line, format!(":plimsoll-183:M:0:{magic}:{mask}:/proc/self/fd/9:FPC"));
        let s390x = MACHINES[5].2;
        assert_eq!(
            (s390x.header()[16..].to_vec(), s390x.mask()[16..].to_vec()),
            (vec![0, 2, 0, 22], vec![255, 254, 255, 255])
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let other = if Platform::host().architecture == "s390x" { "linux/riscv64" } else { "linux/s390x" };
        let platform: Platform = other.parse().unwrap();
        let empty = tempfile::tempdir().unwrap();
        let error = emulator(&platform, &[empty.path().to_owned()]);
        // A machine that has it registered needs none, and then there is nothing to name.
        if !matches!(error, Ok(None)) {
            assert!(error.unwrap_err().to_string().contains("qemu-"));
        }
        assert_eq!(emulator(&Platform::host(), &[]), Ok(None));
        assert!(emulator(&"windows/amd64".parse().unwrap(), &[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(head: Vec<u8>, text: String) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("program");
            fs::write(&path, [&b"\x7fELF\x02\x01"[..], &head].concat()).unwrap();
            is_static(&path);
            takes(&text, ARM64);
        }
    }
}
