//! `RUN --mount`: what a step sees besides the layers below it. Nothing of it ends in the layer.
//!
//! | type | in the step's key | from where |
//! |---|---|---|
//! | `bind` | target, whether it may be written to, and of each file path, kind, mode, owner, content | context, stage or image |
//! | `cache` | target, id, whether it may be written to | [`super::caches`] |
//! | `tmpfs` | target, size | memory |
//! | `secret` | target, id, variable, owner, mode; not the value | the request |
//! | `ssh` | target, id, owner, mode | an agent; see [`super::agent`] |
//!
//! Source: the Dockerfile reference, "RUN --mount".

use std::path::{Path, PathBuf};

use layer::FollowLast;

use super::agent::AgentSocket;
use super::build::Build;
use super::caches::{Cache, HeldCache};
use super::contents::View;
use super::fill::{Sources, unfold};
use super::from::From;
use super::items::Group;
use super::place::{Attributes, place};
use super::source;
use super::stage::StageRun;
use super::work::WorkFolder;
use super::workspace::Workspace;
use crate::BuildError;
use crate::context::Choice;
use crate::dockerfile::{Access, Instruction, Lexer, Mount as Asked, MountFlag, MountKind, Origin, Run};
use crate::sandbox::{Content, Mount};

/// The mounts of one RUN.
#[derive(Default)]
pub(crate) struct Mounts<'a>(Vec<Planned<'a>>);

struct Planned<'a> {
    target: String,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Bind { from: From<'a>, source: String, groups: Vec<Group<'a>>, writable: bool },
    Cache { from: Option<From<'a>>, cache: Cache<'a>, read_only: bool },
    Tmpfs { size: Option<u64> },
    Secret { id: String, value: Option<Vec<u8>>, file: bool, env: Option<String>, access: Access },
    Ssh { id: String, agent: Option<PathBuf>, access: Access },
}

/// What a step holds while it runs.
#[derive(Default)]
pub(crate) struct Prepared {
    pub mounts: Vec<Mount>,
    /// `NAME=value`, not to be in any key.
    pub environment: Vec<String>,
    _caches: Vec<HeldCache>,
    _agents: Vec<AgentSocket>,
}

impl<'a> Mounts<'a> {
    /// Reads the mounts of an instruction with the variables of its stage.
    pub fn plan(stage: &StageRun<'a>, at: &Instruction, run: &Run) -> Result<Self, BuildError> {
        let mut agents = 0;
        let mut planned = Vec::new();
        for flag in &run.mounts {
            let refuse = |reason: String| stage.refuse(at, format!("--mount={}: {reason}", flag.value.text));
            let asked = read(stage, flag).map_err(refuse)?;
            let plan = Plan { stage, at, refuse: &refuse };
            planned.push(plan.mount(flag, asked, &mut agents)?);
        }
        Ok(Self(planned))
    }

    /// Returns the secrets that the step sees, by id.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().filter_map(|planned| match &planned.kind {
            Kind::Secret { id, value: Some(value), .. } => Some((id.as_str(), value.as_slice())),
            _ => None,
        })
    }

    /// Returns what of the mounts is part of the step's key.
    pub fn fields(&self) -> Vec<Vec<u8>> {
        self.0.iter().flat_map(Planned::fields).collect()
    }

    /// Makes everything ready that a step mounts.
    pub fn prepare(&self, build: &Build<'_>, work: &WorkFolder<'_>) -> Result<Prepared, BuildError> {
        let workspace = build.workspace;
        let mut prepared = Prepared::default();
        let caches = self.hold_caches(build)?;
        for (number, planned) in self.0.iter().enumerate() {
            let target = PathBuf::from(&planned.target);
            match &planned.kind {
                Kind::Bind { from, source, groups, writable } => {
                    let bind = Bind { workspace, work, number, source, groups, writable: *writable };
                    prepared.mounts.push(bind.mount(from, target)?);
                }
                Kind::Cache { cache, read_only, .. } => {
                    let key = cache.key();
                    let held = caches.iter().find(|(known, _)| *known == key);
                    let source = held.map(|(_, held)| held.data.clone()).unwrap_or_default();
                    prepared.mounts.push(Mount::Bind { source, target, read_only: *read_only });
                }
                Kind::Tmpfs { size } => prepared.mounts.push(Mount::Tmpfs { target, size: *size }),
                Kind::Secret { value: None, .. } => {}
                Kind::Secret { value: Some(value), file, env, access, .. } => {
                    if let Some(name) = env {
                        let value = String::from_utf8_lossy(value);
                        prepared.environment.push(format!("{name}={value}"));
                    }
                    if *file {
                        let (uid, gid) = owner(*access);
                        let content = Content(value.clone());
                        let mode = access.mode.unwrap_or(0o400);
                        prepared.mounts.push(Mount::File { content, mode, uid, gid, target });
                    }
                }
                Kind::Ssh { agent, access, .. } => {
                    let is_set = |entry: &String| entry.starts_with("SSH_AUTH_SOCK=");
                    if !prepared.environment.iter().any(is_set) {
                        prepared.environment.push(format!("SSH_AUTH_SOCK={}", planned.target));
                    }
                    // Where there is no agent the variable leads nowhere, as it does with BuildKit.
                    let Some(agent) = agent else { continue };
                    let socket = open_agent(work, number, agent, *access)?;
                    let source = socket.path.clone();
                    prepared.mounts.push(Mount::Bind { source, target, read_only: false });
                    prepared._agents.push(socket);
                }
            }
        }
        prepared._caches = caches.into_iter().map(|(_, held)| held).collect();
        Ok(prepared)
    }

    /// Notes the caches, for those elsewhere that keep them: they are of use whether the step runs or not.
    pub fn note_caches(&self, build: &Build<'_>) {
        for planned in &self.0 {
            if let Kind::Cache { cache, .. } = &planned.kind {
                build.note_mount(cache, None);
            }
        }
    }

    /// Takes hold of each cache once, in the order of their keys, so that two steps that need the same ones do
    /// not wait for each other.
    fn hold_caches(&self, build: &Build<'_>) -> Result<Vec<(crate::cache::CacheKey, HeldCache)>, BuildError> {
        let caches = self.0.iter().filter_map(|planned| match &planned.kind {
            Kind::Cache { from, cache, .. } => Some((cache.key(), cache, from.as_ref())),
            _ => None,
        });
        let mut caches: Vec<_> = caches.collect();
        caches.sort_by_key(|(key, ..)| key.clone());
        caches.dedup_by_key(|(key, ..)| key.clone());
        let hold = |(key, cache, from): (_, &Cache<'_>, Option<&From<'_>>)| {
            let sources = from.map(sources_of).unwrap_or_default();
            let held = cache.hold(build, sources)?;
            build.note_mount(cache, Some(&held));
            Ok((key, held))
        };
        caches.into_iter().map(hold).collect()
    }
}

fn sources_of<'s>(from: &'s From<'_>) -> Sources<'s> {
    Sources { context: from.context(), layers: from.layers() }
}

fn open_agent(
    work: &WorkFolder<'_>,
    number: usize,
    agent: &Path,
    access: Access,
) -> Result<AgentSocket, BuildError> {
    let (name, mode) = (format!("agent-{number}"), access.mode.unwrap_or(0o600));
    AgentSocket::open(work.path(), &name, agent, mode, owner(access))
        .map_err(|error| BuildError::layer(format!("reach the SSH agent at {}", agent.display()), error))
}

fn owner(access: Access) -> (u32, u32) {
    (access.uid.unwrap_or(0), access.gid.unwrap_or(0))
}

fn read(stage: &StageRun<'_>, flag: &MountFlag) -> Result<Asked, String> {
    let environment = &stage.state.config.config.env;
    let lookup = |name: &str| stage.state.scope.get(environment, name).map(str::to_owned);
    let lexer = Lexer::new(stage.build.dockerfile.directives.escape);
    flag.parse(&|text| lexer.expand(text, &lookup).map(|one| one.text).map_err(|error| error.to_string()))
}

/// One mount being planned.
struct Plan<'p, 'a> {
    stage: &'p StageRun<'a>,
    at: &'p Instruction,
    refuse: &'p dyn Fn(String) -> BuildError,
}

impl<'a> Plan<'_, 'a> {
    fn mount(&self, flag: &MountFlag, asked: Asked, agents: &mut usize) -> Result<Planned<'a>, BuildError> {
        let target = asked.target.clone();
        let (target, kind) = match asked.kind {
            MountKind::Bind { source, writable, .. } => {
                let from = self.from(flag)?;
                let source = source.unwrap_or_default();
                let groups = self.groups(&from, &source)?;
                (target, Kind::Bind { from, source, groups, writable })
            }
            MountKind::Cache { id, sharing, from, source, read_only, access } => {
                let from = from.map(|_| self.from(flag)).transpose()?;
                let source = source.unwrap_or_default();
                let first = from.as_ref().map(|from| self.groups(from, &source)).transpose()?;
                let absolute = self.stage.state.absolute(target.as_deref().unwrap_or_default());
                let id = id.unwrap_or(absolute);
                let cache = Cache { id, sharing, access, first: first.unwrap_or_default() };
                (target, Kind::Cache { from, cache, read_only })
            }
            MountKind::Tmpfs { size } => (target, Kind::Tmpfs { size }),
            MountKind::Secret { id, env, required, access } => {
                let value = self.stage.build.request.options.secrets.get(&id);
                if required && value.is_none() {
                    return Err((self.refuse)(format!(
                        "the secret {id} is not given (--secret id={id},src=FILE)"
                    )));
                }
                let file = target.is_some() || env.is_none();
                let target = target.unwrap_or_else(|| format!("/run/secrets/{id}"));
                let value = value.map(|secret| secret.bytes().to_vec());
                (Some(target), Kind::Secret { id, value, file, env, access })
            }
            MountKind::Ssh { id, required, access } => {
                let id = id.unwrap_or_else(|| "default".to_owned());
                let agent = self.stage.build.request.options.ssh.get(&id).cloned();
                if required && agent.is_none() {
                    return Err((self.refuse)(format!("no SSH agent is given for {id} (--ssh {id}=SOCKET)")));
                }
                let standing = format!("/run/buildkit/ssh_agent.{agents}");
                *agents += 1;
                let kind = Kind::Ssh { id, agent, access };
                (Some(target.unwrap_or(standing)), kind)
            }
        };
        let target = self.stage.state.absolute(&target.unwrap_or_default());
        if target == "/" {
            return Err((self.refuse)("the whole root cannot be mounted over".to_owned()));
        }
        Ok(Planned { target, kind })
    }

    fn from(&self, flag: &MountFlag) -> Result<From<'a>, BuildError> {
        match flag.from().map_err(self.refuse)? {
            None => Ok(From::Context(self.stage.build.context()?)),
            Some(name) => {
                let dockerfile = &self.stage.build.dockerfile;
                let origin: Origin = dockerfile.base(dockerfile.stages.len(), &name);
                From::origin(self.stage, self.at, &origin)
            }
        }
    }

    fn groups(&self, from: &From<'a>, source: &str) -> Result<Vec<Group<'a>>, BuildError> {
        from.select(self.stage, &[source.to_owned()], &Choice::literal())?.map_err(self.refuse)
    }
}

impl Planned<'_> {
    fn fields(&self) -> Vec<Vec<u8>> {
        let (what, content) = match &self.kind {
            Kind::Bind { groups, writable, .. } => {
                let owners = groups
                    .iter()
                    .flat_map(|group| group.items.iter())
                    .map(|item| format!("{} {} {:?}", item.uid, item.gid, item.xattrs).into_bytes());
                let fields: Vec<Vec<u8>> = source::fields(groups).chain(owners).collect();
                (format!("bind {writable} {}", fields.len()), fields)
            }
            Kind::Cache { cache, read_only, .. } => (format!("cache {read_only} {}", cache.id), Vec::new()),
            Kind::Tmpfs { size } => (format!("tmpfs {size:?}"), Vec::new()),
            Kind::Secret { id, file, env, access, .. } => {
                (format!("secret {file} {env:?} {access:?} {id}"), Vec::new())
            }
            Kind::Ssh { id, access, .. } => (format!("ssh {access:?} {id}"), Vec::new()),
        };
        [self.target.clone().into_bytes(), what.into_bytes()].into_iter().chain(content).collect()
    }
}

/// A bind mount being made ready.
struct Bind<'p> {
    workspace: &'p Workspace,
    work: &'p WorkFolder<'p>,
    number: usize,
    source: &'p str,
    groups: &'p [Group<'p>],
    writable: bool,
}

impl Bind<'_> {
    fn mount(&self, from: &From<'_>, target: PathBuf) -> Result<Mount, BuildError> {
        match from {
            From::Layers { layers, .. } if !layers.is_empty() => {
                let tree = View::of(self.workspace, layers)?.tree;
                let resolved = tree
                    .resolve(self.source.as_bytes(), FollowLast::Yes)
                    .map_err(|error| BuildError::layer("find the source of a mount", error))?;
                let writes = match self.writable {
                    true => Some((self.create("upper")?, self.create("work")?)),
                    false => None,
                };
                Ok(Mount::Layers {
                    lowers: self.workspace.tree_stack(layers)?,
                    writes,
                    source: super::contents::os_path(&resolved.path),
                    directory: self.groups.first().is_none_or(|group| group.is_folder),
                    target,
                })
            }
            _ => self.copied(from, target),
        }
    }

    /// Puts what is mounted into a folder of the step: a context has files that are left out, and owners that
    /// are not to be seen.
    fn copied(&self, from: &From<'_>, target: PathBuf) -> Result<Mount, BuildError> {
        let folder = self.create("bind")?;
        let below = layer::Tree::new(&[]);
        let failed = |reason| BuildError::layer("make a mount ready", std::io::Error::other(reason));
        let placed = place(&below, "/", self.groups, &Attributes::default(), self.workspace.root())
            .map_err(|error| error.or(failed))?;
        unfold(self.workspace, &placed, sources_of(from), &folder)?;
        let source = match self.groups.first() {
            Some(group) if !group.is_folder => folder.join(super::contents::os_path(&group.name)),
            _ => folder,
        };
        Ok(Mount::Bind { source, target, read_only: !self.writable })
    }

    fn create(&self, name: &str) -> Result<PathBuf, BuildError> {
        self.work.create(&format!("mount-{}-{name}", self.number))
    }
}
