//! Finds a command's program in the image, starts it, and explains why it cannot be started.
//!
//! Source: execve(2); POSIX.1-2017, "Environment Variables", PATH; the ELF header of the System V ABI.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};

use rustix::io::Errno;

use crate::sandbox::error::SandboxError;
use crate::sandbox::system;

/// Becomes the program named by the first argument; returns only with what prevented it.
pub(super) fn start(
    arguments: &[CString],
    environment: &[CString],
    search_path: Option<&str>,
) -> SandboxError {
    let Some(name) = arguments.first() else { return SandboxError::EmptyCommand };
    let program = name.to_string_lossy().into_owned();
    if program.is_empty() {
        return SandboxError::EmptyCommand;
    }
    let mut refusal = None;
    for candidate in candidates(&program, search_path) {
        let Ok(path) = CString::new(candidate.as_str()) else { continue };
        let error = system::execute(&path, arguments, environment);
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR) if !is_file(&path) => {}
            // A later folder of the search path may hold one that may be executed.
            Some(Errno::ACCESS) => refusal = refusal.or(Some((candidate, error))),
            _ => return explain(&candidate, &error),
        }
    }
    match refusal {
        Some((candidate, error)) => explain(&candidate, &error),
        None => SandboxError::ProgramNotFound { searched: searched(&program, search_path), program },
    }
}

fn candidates(program: &str, search_path: Option<&str>) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let folders = search_path.unwrap_or_default().split(':').filter(|_| search_path.is_some());
    // An empty folder means the current one.
    folders
        .map(|folder| if folder.is_empty() { format!("./{program}") } else { format!("{folder}/{program}") })
        .collect()
}

fn searched(program: &str, search_path: Option<&str>) -> String {
    match search_path {
        _ if program.contains('/') => "no such file".to_owned(),
        Some(path) => format!("looked in PATH={path}"),
        None => "it has no slash and PATH is not set".to_owned(),
    }
}

fn is_file(path: &CStr) -> bool {
    rustix::fs::stat(path).is_ok()
}

/// Says what is wrong with a program that is there.
fn explain(program: &str, error: &io::Error) -> SandboxError {
    let program = program.to_owned();
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR) => match interpreter(&program) {
            Some(interpreter) => SandboxError::InterpreterNotFound { program, interpreter },
            None => {
                SandboxError::ProgramNotFound { program, searched: "a file it needs is missing".to_owned() }
            }
        },
        Some(Errno::NOEXEC) => {
            let found = read_start(&program)
                .map_or_else(|_| "of an unknown format".to_owned(), |start| format_of(&start));
            SandboxError::ForeignFormat { program, found, host: std::env::consts::ARCH.to_owned() }
        }
        Some(Errno::ACCESS) => SandboxError::NotExecutable { reason: denial(&program), program },
        _ => SandboxError::NotExecutable { reason: error.to_string(), program },
    }
}

fn denial(program: &str) -> String {
    match std::fs::metadata(program) {
        Ok(found) if found.is_dir() => "it is a folder".to_owned(),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            format!("its mode {:04o} has no execute bit", found.permissions().mode() & 0o7777)
        }
        _ => "permission denied to the user of the command".to_owned(),
    }
}

fn read_start(program: &str) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(program)?.take(4096).read_to_end(&mut start)?;
    Ok(start)
}

/// Names what a file is that the kernel does not execute.
fn format_of(start: &[u8]) -> String {
    let [0x7f, b'E', b'L', b'F', _, order, ..] = *start else {
        return if start.is_empty() {
            "an empty file"
        } else {
            "neither an ELF program nor a script with #!"
        }
        .to_owned();
    };
    let Some(machine) = start.get(18..20).and_then(|bytes| bytes.try_into().ok()) else {
        return "a truncated ELF program".to_owned();
    };
    let machine = if order == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    format!("an ELF program for {}", machine_name(machine))
}

fn machine_name(machine: u16) -> String {
    match machine {
        3 => "x86 (32 bits)".to_owned(),
        8 => "mips".to_owned(),
        20 | 21 => "powerpc".to_owned(),
        22 => "s390x".to_owned(),
        40 => "arm (32 bits)".to_owned(),
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        243 => "riscv64".to_owned(),
        258 => "loongarch64".to_owned(),
        other => format!("machine number {other}"),
    }
}

/// Returns what the file says is to start it: the program after `#!`, or the loader of an ELF program.
fn interpreter(program: &str) -> Option<String> {
    let file = File::open(program).ok()?;
    let start = read_start(program).ok()?;
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next()?).into_owned();
        // A line that ends in CR is the usual reason: show it.
        return Some(line.trim_matches([' ', '\t']).split([' ', '\t']).next()?.escape_debug().to_string());
    }
    elf_interpreter(&file, &start)
}

/// Reads the path in the program header of type `PT_INTERP`, for 64-bit little-endian files.
fn elf_interpreter(file: &File, start: &[u8]) -> Option<String> {
    if !start.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return None;
    }
    let number = |bytes: &[u8], at: usize, size: usize| -> Option<u64> {
        let field = bytes.get(at..at.checked_add(size)?)?;
        Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (table, size, count) = (number(start, 32, 8)?, number(start, 54, 2)?, number(start, 56, 2)?);
    for index in 0..count.min(128) {
        let mut header = [0; 56];
        file.read_exact_at(&mut header, table.checked_add(index * size)?).ok()?;
        if number(&header, 0, 4)? == 3 {
            let mut path = vec![0; number(&header, 32, 8)?.min(4096) as usize];
            file.read_exact_at(&mut path, number(&header, 8, 8)?).ok()?;
            return Some(String::from_utf8_lossy(path.split(|byte| *byte == 0).next()?).into_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_for_in_every_folder() {
        assert_eq!(candidates("ls", Some("/bin:/usr/bin::x")), ["/bin/ls", "/usr/bin/ls", "./ls", "x/ls"]);
        assert_eq!(candidates("./ls", Some("/bin")), ["./ls"]);
        assert!(candidates("ls", None).is_empty());
    }

    #[test]
    fn formats_are_named() {
        let elf = |order: u8, machine: [u8; 2]| {
            let mut start = vec![0x7f, b'E', b'L', b'F', 2, order];
            start.resize(18, 0);
            [start.as_slice(), &machine].concat()
        };
        assert_eq!(format_of(&elf(1, [183, 0])), "an ELF program for aarch64");
        assert_eq!(format_of(&elf(2, [0, 22])), "an ELF program for s390x");
        assert_eq!(format_of(&elf(1, [0xff, 0xff])), "an ELF program for machine number 65535");
        assert_eq!(format_of(b"\x7fELF\x02\x01"), "a truncated ELF program");
        assert_eq!(format_of(b""), "an empty file");
        assert_eq!(format_of(b"echo hello"), "neither an ELF program nor a script with #!");
    }

    #[test]
    fn interpreters_are_read_from_scripts_and_programs() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#! /bin/bash\r\nexit").unwrap();
        assert_eq!(interpreter(script.to_str().unwrap()).unwrap(), "/bin/bash\\r");
        let own = interpreter(std::env::current_exe().unwrap().to_str().unwrap());
        assert!(own.is_none_or(|loader| loader.contains("ld")));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(bytes: Vec<u8>) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("program");
            std::fs::write(&path, [b"\x7fELF\x02\x01".as_slice(), &bytes].concat()).unwrap();
            interpreter(path.to_str().unwrap());
            format_of(&bytes);
        }
    }
}
