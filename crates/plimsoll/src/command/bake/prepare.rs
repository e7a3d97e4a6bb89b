//! What a target's build needs before it starts: secrets and agents, contexts fetched, caches opened, the Dockerfile as
//! a file.

use std::path::{Path, PathBuf};

use builder::{BaseNote, BuildOptions, BuildRequest, NamedContext};
use oci::Platform;
use pipeline::bake::{Dockerfile, Job, NamedBase};

use super::build::Building;
use super::wanted::Wanted;
use crate::command::build::context::GivenContext;
use crate::error::Error;
use crate::workbench;

/// A target ready to be built; what was fetched for it goes when this is dropped.
pub(super) struct Prepared {
    options: BuildOptions,
    context: PathBuf,
    dockerfile: PathBuf,
    dockerfile_name: String,
    _fetched: Vec<GivenContext>,
}

impl Prepared {
    /// Fetches and opens what the target names.
    pub fn new(building: &Building<'_>, wanted: &Wanted) -> Result<Self, Error> {
        let (session, job) = (building.session, &wanted.job);
        let mut options = building.options(job)?;
        let mut fetched = Vec::new();
        for (name, base) in &job.bases {
            let folder = match base {
                NamedBase::Folder(folder) => session.environment.folder.join(folder),
                NamedBase::Address(address) => {
                    let context = GivenContext::fetch(session, address, &options)?;
                    let folder = context.folder.clone();
                    fetched.push(context);
                    folder
                }
                NamedBase::Target(_) | NamedBase::Image(_) => continue,
            };
            options.contexts.insert(name.clone(), NamedContext::Folder(folder));
        }
        let folder = &session.environment.folder;
        let mut prepared = Self {
            options,
            context: folder.join(&job.context),
            dockerfile: PathBuf::new(),
            dockerfile_name: String::new(),
            _fetched: fetched,
        };
        if job.is_fetched() {
            prepared.fetch(building, job)?;
        }
        match &job.dockerfile {
            Dockerfile::Fetched(_) => {}
            Dockerfile::File(file) => {
                (prepared.dockerfile, prepared.dockerfile_name) = (folder.join(file), file.clone());
            }
            Dockerfile::Text(text) => {
                prepared.dockerfile = building.inline(&job.target, text)?;
                prepared.dockerfile_name = format!("{}.dockerfile-inline", job.target);
            }
        }
        if !building.arguments.steps.no_cache && !job.no_cache {
            prepared.options.tiers = wanted.caches.tiers(session, building.workbench.places())?;
        }
        Ok(prepared)
    }

    /// Fetches the context, and the Dockerfile with it where that lies there.
    fn fetch(&mut self, building: &Building<'_>, job: &Job) -> Result<(), Error> {
        let file = match &job.dockerfile {
            Dockerfile::Fetched(name) => name.as_deref().map(Path::new),
            Dockerfile::File(_) | Dockerfile::Text(_) => None,
        };
        let context = GivenContext::open(building.session, &job.context, file, &self.options)?;
        self.context.clone_from(&context.folder);
        self.dockerfile.clone_from(&context.dockerfile);
        self.dockerfile_name.clone_from(&context.dockerfile_name);
        self.options.transient_context = context.is_transient();
        self._fetched.push(context);
        Ok(())
    }

    /// Returns what is asked of the engine for one platform.
    pub fn request(
        &self,
        building: &Building<'_>,
        job: &Job,
        platform: &Platform,
    ) -> Result<BuildRequest, Error> {
        let epoch = building.session.source_date_epoch()?;
        let created = jiff::Timestamp::from_second(epoch.unwrap_or(0))
            .map_err(|_| Error::usage("SOURCE_DATE_EPOCH lies outside of the calendar"))?;
        let steps = &building.arguments.steps;
        Ok(BuildRequest {
            dockerfile: self.dockerfile.clone(),
            dockerfile_name: self.dockerfile_name.clone(),
            context: self.context.clone(),
            target: job.stage.clone(),
            build_args: job.args.clone(),
            platform: platform.clone(),
            labels: job.labels.clone(),
            annotations: job.manifest_annotations.clone(),
            base_note: BaseNote::Nowhere,
            created: created.to_string(),
            source_date_epoch: epoch,
            step_timeout: steps.timeout(),
            no_cache: job.no_cache,
            explain: steps.explain,
            options: self.options.clone(),
        })
    }
}

impl Building<'_> {
    /// Reads secrets and finds agents; what is missing was told before the first build.
    fn options(&self, job: &Job) -> Result<BuildOptions, Error> {
        let environment = &self.session.environment;
        let mut options = BuildOptions {
            network: job.network,
            hosts: job.hosts.clone(),
            insecure: job.insecure,
            no_cache_filter: job.no_cache_filter.clone(),
            shared_memory: job.shared_memory,
            limits: job.limits.clone(),
            fetch: Some(workbench::fetcher(self.session)?),
            ..BuildOptions::default()
        };
        for secret in &job.secrets {
            let by_name = secret.variable.is_empty() && secret.file.is_empty();
            let variable = if by_name { &secret.id } else { &secret.variable };
            let bytes = match environment.variables.get(variable) {
                Some(value) => value.clone().into_bytes(),
                None if !secret.variable.is_empty() => {
                    return Err(Error::usage(format!("the secret {}: ${variable} is not set", secret.id)));
                }
                None => {
                    let file = environment.folder.join(if by_name { &secret.id } else { &secret.file });
                    std::fs::read(&file).map_err(|source| Error::file("read the secret", &file, source))?
                }
            };
            options.secrets.insert(secret.id.clone(), builder::Secret::new(bytes));
        }
        options.git = Some(workbench::git_fetcher(self.session, &options.secrets));
        for agent in &job.ssh {
            let socket = agent.paths.first().map(|path| environment.folder.join(path));
            let socket = socket.or_else(|| environment.variable("SSH_AUTH_SOCK").map(PathBuf::from));
            let socket = socket.filter(|socket| !socket.is_file()).ok_or_else(|| Error::Usage {
                message: format!(
                    "target {}, ssh: {} is given by a key and no agent's socket",
                    job.target, agent.id
                ),
                hint: Some("start an agent, give it the key (ssh-add), and name the agent alone".to_owned()),
            })?;
            options
                .ssh
                .insert(if agent.id.is_empty() { "default".to_owned() } else { agent.id.clone() }, socket);
        }
        self.arguments.steps.lend(self.session, None, options)
    }

    /// Keeps a Dockerfile that is written in the definition in a file.
    fn inline(&self, target: &str, text: &str) -> Result<PathBuf, Error> {
        let file = self.scratch.path().join(format!("{target}.Dockerfile"));
        std::fs::write(&file, text).map_err(|source| Error::file("write", &file, source))?;
        Ok(file)
    }
}
