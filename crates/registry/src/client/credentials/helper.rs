//! Credential helpers: programs named `docker-credential-NAME` that keep secrets elsewhere.
//!
//! Asked once for each registry, with a time limit, since some of them open a dialogue that
//! nobody sees in CI. Source: docker/docker-credential-helpers, "Development".

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci::Registry;
use serde::Deserialize;

use super::file::DOCKER_HUB_KEY;
use super::{Credential, CredentialError};
use crate::client::Secret;

const TIME_LIMIT: Duration = Duration::from_secs(30);
const MAX_OUTPUT_BYTES: u64 = 64 << 10;

/// What a helper that does not know a registry writes.
const NOT_FOUND: &str = "credentials not found";

type Answers = HashMap<(String, Registry), Option<Credential>>;

/// The helpers in a list of folders, and what they answered so far.
#[derive(Debug, Default)]
pub(super) struct Helpers {
    folders: Vec<PathBuf>,
    answers: Mutex<Answers>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Helpers {
    pub fn new(path: Option<&OsStr>) -> Self {
        let folders = path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
        Self { folders, answers: Mutex::default() }
    }

    /// Returns what the helper `name` knows about `registry`. The lock is held while it runs, so
    /// that several requests do not open several dialogues.
    pub fn get(&self, name: &str, registry: &Registry) -> Result<Option<Credential>, CredentialError> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), registry.clone());
        if let Some(known) = answers.get(&key) {
            return Ok(known.clone());
        }
        let answer = self.ask(name, registry).map_err(|reason| CredentialError::Helper {
            name: name.to_owned(),
            registry: registry.to_string(),
            reason,
        })?;
        answers.insert(key, answer.clone());
        Ok(answer)
    }

    fn ask(&self, name: &str, registry: &Registry) -> Result<Option<Credential>, String> {
        let program = self.find(name)?;
        let address = if registry.is_docker_hub() { DOCKER_HUB_KEY } else { registry.as_str() };
        let (succeeded, output, errors) = run(Command::new(program).arg("get"), address)?;
        if !succeeded && (output.contains(NOT_FOUND) || errors.contains(NOT_FOUND)) {
            return Ok(None);
        }
        if !succeeded {
            let words = if errors.trim().is_empty() { &output } else { &errors };
            return Err(words.trim().chars().take(300).collect());
        }
        let answer: Answer = serde_json::from_str(&output)
            .map_err(|_| "its answer is not the JSON of a credential".to_owned())?;
        let secret = Secret::new(answer.secret);
        Ok(Some(match answer.username.as_str() {
            "<token>" => Credential::IdentityToken(secret),
            _ => Credential::Password { username: answer.username, password: secret },
        }))
    }

    fn find(&self, name: &str) -> Result<PathBuf, String> {
        if name.contains('/') || name.is_empty() {
            return Err("it is not a program name".to_owned());
        }
        let program = format!("docker-credential-{name}");
        let found = self.folders.iter().map(|folder| folder.join(&program)).find(|path| path.is_file());
        found.ok_or_else(|| "it is not in the search path".to_owned())
    }
}

/// Runs a program with `input`; returns whether it succeeded, its output and its errors.
fn run(command: &mut Command, input: &str) -> Result<(bool, String, String), String> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("it cannot be started: {error}"))?;
    // A helper that does not read its input breaks the pipe, which is its own matter.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes()));
    let output = collect(child.stdout.take());
    let errors = collect(child.stderr.take());
    let succeeded = wait(&mut child)?;
    let text = |thread: std::thread::JoinHandle<String>| thread.join().unwrap_or_default();
    Ok((succeeded, text(output), text(errors)))
}

fn collect(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before an error is still worth showing.
            let _ = pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child) -> Result<bool, String> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if started.elapsed() > TIME_LIMIT => {
                // It may have ended in between; either way it is gone afterwards.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not answer within {} s", TIME_LIMIT.as_secs()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(3)),
            Err(error) => return Err(format!("it cannot be waited for: {error}")),
        }
    }
}
