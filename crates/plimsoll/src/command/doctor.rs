//! `doctor`: what this machine allows, and what to do about the rest.

use std::fmt;
use std::path::PathBuf;

use builder::sandbox;
use pipeline::git::Checkout;
use serde::Serialize;

use crate::daemon;
use crate::error::{Code, Error};
use crate::session::{self, Session};
use crate::workbench;

/// Checks what this machine allows: store, sandbox, container daemon, credentials
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only the store and the sandbox are needed; where one of them fails the exit code is 1.

Examples:
  $ plimsoll doctor
  $ plimsoll doctor --format json | jq '.checks[] | select(.state != \"ok\")'"
)]
pub struct Arguments {}

#[derive(Debug, Serialize)]
struct Report {
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It works.
    Ok,
    /// It is not there, and only some things need it.
    Absent,
    /// It is needed and does not work.
    Failed,
}

impl Arguments {
    /// Makes all checks and reports them.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let checks =
            vec![store(session), sandbox(session), daemon(session), credentials(session), clone(session)];
        let failed = checks.iter().any(|check| check.state == State::Failed);
        session.ui.answer("doctor", &Report { checks })?;
        if failed { Err(Error::Stopped(Code::Failed)) } else { Ok(()) }
    }
}

fn ok(name: &'static str, detail: impl Into<String>) -> Check {
    Check { name, state: State::Ok, detail: detail.into(), remedy: None }
}

fn absent(name: &'static str, detail: impl Into<String>, remedy: &str) -> Check {
    Check { name, state: State::Absent, detail: detail.into(), remedy: Some(remedy.to_owned()) }
}

fn failed(name: &'static str, error: &Error) -> Check {
    let mut detail = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        detail.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    Check { name, state: State::Failed, detail, remedy: error.hint() }
}

fn store(session: &Session) -> Check {
    match session.store() {
        Ok(store) => ok("store", format!("images and cache lie in {}", store.root().display())),
        Err(error) => failed("store", &error),
    }
}

fn sandbox(session: &Session) -> Check {
    let folder = match session.scratch() {
        Ok(folder) => folder,
        Err(error) => return failed("sandbox", &error),
    };
    let wanted = match workbench::wanted_sandbox(session) {
        Ok(wanted) => wanted,
        Err(error) => return failed("sandbox", &error),
    };
    match sandbox::probe_for(&PathBuf::from("/proc/self/exe"), &folder, wanted) {
        Ok(probe) => ok("sandbox", format!("steps run in {} ({})", probe.mode.name(), probe.reason)),
        Err(sandbox::SandboxError::Unavailable { reason, remedy }) => {
            Check { name: "sandbox", state: State::Failed, detail: reason, remedy: Some(remedy) }
        }
        Err(error) => {
            Check { name: "sandbox", state: State::Failed, detail: error.to_string(), remedy: None }
        }
    }
}

fn daemon(session: &Session) -> Check {
    const REMEDY: &str = "only suites with needs-daemon = true want one";
    match daemon::wanted(session) {
        Ok(Some(_)) => ok("daemon", "a container daemon answers"),
        Ok(None) => absent("daemon", "no container daemon answers at the usual sockets", REMEDY),
        Err(error) => absent("daemon", error.to_string(), REMEDY),
    }
}

fn credentials(session: &Session) -> Check {
    let environment = &session.environment;
    if let Err(error) = session::credentials(environment) {
        return failed("credentials", &error.into());
    }
    let files = environment.credential_files();
    let there: Vec<String> =
        files.iter().filter(|file| file.exists()).map(|file| file.display().to_string()).collect();
    if there.is_empty() {
        return absent(
            "credentials",
            "registries are asked anonymously",
            "log in with plimsoll login REGISTRY",
        );
    }
    ok("credentials", format!("registries are asked as {} say", there.join(", ")))
}

fn clone(session: &Session) -> Check {
    const REMEDY: &str = "images of a project are named after commits; import, copy and serve do without";
    match Checkout::open(&session.environment.folder).and_then(|checkout| checkout.head()) {
        Ok(head) => ok("git", format!("the project is at commit {}", head.revision.short(12))),
        Err(error) => absent("git", error.to_string(), REMEDY),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let state = match check.state {
                State::Ok => "ok",
                State::Absent => "absent",
                State::Failed => "FAILED",
            };
            writeln!(f, "{state:<7} {:<12} {}", check.name, check.detail)?;
            if let Some(remedy) = check.remedy.as_ref().filter(|_| check.state != State::Ok) {
                writeln!(f, "{:<7} {:<12} -> {remedy}", "", "")?;
            }
        }
        Ok(())
    }
}
