//! Files of secrets and sockets of agents: what a target names has to be there, as the neighbour asks
//! even before it prints.

use pipeline::bake::{Bake, Secret, Ssh};

use crate::error::Error;
use crate::session::Session;

/// The largest secret, in bytes, as BuildKit has it.
const LARGEST_SECRET: u64 = 500 << 10;

/// Checks that what the targets name is there.
pub(super) fn check(session: &Session, bake: &Bake) -> Result<(), Error> {
    for target in bake.targets.values() {
        for secret in target.secrets.iter().flatten() {
            check_secret(session, secret).map_err(|reason| bake.at(target, "secret", reason))?;
        }
        if target.needs_agent() {
            check_agent(session, &Ssh::default()).map_err(|reason| bake.at(target, "context", reason))?;
        }
        for agent in target.ssh.iter().flatten() {
            check_agent(session, agent).map_err(|reason| bake.at(target, "ssh", reason))?;
        }
    }
    Ok(())
}

fn check_secret(session: &Session, secret: &Secret) -> Result<(), String> {
    if secret.id.is_empty() {
        return Err("a secret has no id; write id=NAME".to_owned());
    }
    let by_name = secret.file.is_empty() && secret.variable.is_empty();
    if !secret.variable.is_empty() || by_name && session.environment.variables.contains_key(&secret.id) {
        return Ok(());
    }
    let file = if by_name { &secret.id } else { &secret.file };
    let found = std::fs::metadata(session.environment.folder.join(file));
    let size = found.map_err(|error| format!("failed to stat {file}: {error}"))?.len();
    match size > LARGEST_SECRET {
        true => Err(format!("the secret {} is larger than 500 KiB", secret.id)),
        false => Ok(()),
    }
}

fn check_agent(session: &Session, agent: &Ssh) -> Result<(), String> {
    let id = if agent.id.is_empty() { "default" } else { &agent.id };
    if agent.paths.is_empty() {
        return match session.environment.variable("SSH_AUTH_SOCK") {
            Some(_) => Ok(()),
            None => {
                Err(format!("there is no SSH agent for {id}: make sure SSH_AUTH_SOCK is set, or name a key"))
            }
        };
    }
    agent.paths.iter().try_for_each(|path| {
        let found = std::fs::metadata(session.environment.folder.join(path));
        found.map(|_| ()).map_err(|error| format!("failed to stat {path}, a key of {id}: {error}"))
    })
}
