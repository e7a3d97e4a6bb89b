//! The program that the sandbox' own tests start again as a sandbox; `plimsoll` does the same in its `main`.
//!
//! `sandbox-runner run|start LOWER UPPER WORK FILE SCRIPT` also uses one, for the tests that kill whoever does:
//! it runs the script, or starts it as a service and waits, with the file mounted at `/tmp/file`. Exit code 99
//! says that memory ran out. `sandbox-runner probe FOLDER` writes what it found to the file `probe` there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use builder::sandbox::{
    Command, Mount, Network, RootFs, Sandbox, SandboxError, ServiceOptions, enter_if_asked, probe,
};

/// The exit code for a script that the kernel killed for want of memory.
const OUT_OF_MEMORY: i32 = 99;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = enter_if_asked(arguments.iter().cloned()) {
        return ExitCode::from(code.clamp(0, 255) as u8);
    }
    match arguments.as_slice() {
        [program, how, lower, upper, work, file, script] => {
            let root = RootFs {
                lowers: vec![lower.into()],
                upper: upper.into(),
                work: work.into(),
                read_only: false,
                merged: None,
            };
            let command = command(Path::new(file), &script.to_string_lossy());
            match use_sandbox(program.into(), how == "start", &root, &command) {
                Ok(code) => ExitCode::from(code.clamp(0, 255) as u8),
                Err(_) => ExitCode::from(70),
            }
        }
        [program, how, folder] if how == "probe" => {
            let found = match probe(Path::new(program), Path::new(folder)) {
                Ok(found) => found.reason,
                Err(error) => error.to_string(),
            };
            let written = std::fs::write(Path::new(folder).join("probe"), found);
            ExitCode::from(u8::from(written.is_err()))
        }
        _ => ExitCode::from(2),
    }
}

fn command(file: &Path, script: &str) -> Command {
    let mut command = Command::new(&["/bin/sh", "-c", script]);
    command.environment.push(("PATH".to_owned(), "/bin".to_owned()));
    command.network = Network::Private;
    command.mounts.push(Mount::Bind { source: file.into(), target: "/tmp/file".into(), read_only: false });
    command
}

fn use_sandbox(program: PathBuf, start: bool, root: &RootFs, command: &Command) -> Result<i32, SandboxError> {
    let found = probe(&program, &root.work)?;
    let sandbox = Sandbox::new(program, found.mode)?;
    if !start {
        let exit = sandbox.run(root, command, &mut |_, _| {})?;
        return Ok(if exit.out_of_memory { OUT_OF_MEMORY } else { exit.code() });
    }
    let options = ServiceOptions { ports: &[8080], ..ServiceOptions::default() };
    let service = sandbox.start(root, command, &options, Box::new(|_, _| {}))?;
    // Nothing listens there, so this waits until someone kills this program.
    service.wait_healthy(Duration::MAX)?;
    Ok(0)
}
