//! The last moments before a command: it takes its user, its folder and its program, or says why not.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{chdir, setsid};

use super::account::Account;
use super::{owners, privileges, program};
use crate::sandbox::channel::Channel;
use crate::sandbox::command::Command;
use crate::sandbox::error::SandboxError;
use crate::sandbox::message::Users;
use crate::sandbox::system;

/// Turns this process into the command; returns only with what prevented it.
///
/// `owners` leads to whoever notes changes of owner; without it, or where they are possible, they are made.
pub(super) fn become_command(
    command: &Command,
    users: Users,
    input: Option<&OwnedFd>,
    owners: Option<&Channel>,
) -> SandboxError {
    match prepare(command, users, input, owners) {
        Ok(prepared) => {
            program::start(&prepared.arguments, &prepared.environment, prepared.search_path.as_deref())
        }
        Err(error) => error,
    }
}

struct Prepared {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    search_path: Option<String>,
}

fn prepare(
    command: &Command,
    users: Users,
    input: Option<&OwnedFd>,
    owners: Option<&Channel>,
) -> Result<Prepared, SandboxError> {
    let account = Account::look_up(Path::new("/"), &command.user)?;
    let prepared = words(command, &account)?;
    let setup = |error: io::Error| SandboxError::setup("start the command", error);
    connect_input(input).map_err(setup)?;
    let _ = setsid();
    enter_folder(&command.working_directory)?;
    privileges::limit_resources(&command.limits);
    if users == Users::Single {
        privileges::call_own_id(&account)?;
    }
    // Nobody but root may give files away.
    if let Some(init) = owners.filter(|_| users == Users::Single && account.uid == 0) {
        owners::ask_init(init);
    }
    if !command.privileged {
        privileges::drop_capabilities(users)?;
    }
    privileges::become_user(&account)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    system::reset_signals().map_err(setup)?;
    Ok(prepared)
}

fn connect_input(input: Option<&OwnedFd>) -> io::Result<()> {
    match input {
        Some(input) => Ok(rustix::stdio::dup2_stdin(input)?),
        None => Ok(rustix::stdio::dup2_stdin(&File::open("/dev/null")?)?),
    }
}

fn enter_folder(folder: &str) -> Result<(), SandboxError> {
    let folder = if folder.is_empty() { "/" } else { folder };
    chdir(folder)
        .map_err(|errno| SandboxError::WorkingDirectory { path: folder.to_owned(), source: errno.into() })
}

fn words(command: &Command, account: &Account) -> Result<Prepared, SandboxError> {
    let argument = |word: &String| {
        CString::new(word.as_str()).map_err(|_| SandboxError::NulByte { place: format!("argument {word:?}") })
    };
    let variable = |(name, value): &(String, String)| {
        CString::new(format!("{name}={value}"))
            .map_err(|_| SandboxError::NulByte { place: format!("environment variable {name:?}") })
    };
    let arguments = command.arguments.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
    let mut environment = command.environment.iter().map(variable).collect::<Result<Vec<_>, _>>()?;
    let value_of = |wanted: &str| command.environment.iter().rev().find(|(name, _)| name == wanted);
    if value_of("HOME").is_none() {
        environment.push(variable(&("HOME".to_owned(), account.home.clone()))?);
    }
    let search_path = value_of("PATH").map(|(_, path)| path.clone());
    Ok(Prepared { arguments, environment, search_path })
}
