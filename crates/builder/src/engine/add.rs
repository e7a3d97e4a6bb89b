//! ADD: local files and archives, URLs, git repositories.
//!
//! | source | unpacked | its key holds |
//! |---|---|---|
//! | local file | where it is an archive, unless `--unpack=false` | its content |
//! | URL | with `--unpack` | its content; with `--checksum` that, and then nothing is fetched where the layer is known |
//! | repository | its files are copied | the commit: nothing but the name of that is fetched where the layer is known |

use super::copy::{Expanded, asked_key, expand, history, transfer, with_documents};
use super::fill::{Sources, write_layer};
use super::from::From;
use super::git::{self, Repository};
use super::items::Group;
use super::place::{content_key, place};
use super::remote::{self, SourceKind};
use super::source;
use super::stage::{Outcome, StageRun, Step};
use super::unpack::{self, Archive};
use super::work::WorkFolder;
use crate::BuildError;
use crate::cache::{CacheKey, KeyBuilder};
use crate::context::Context;
use crate::dockerfile::{Add, Instruction};

/// One source, told apart.
enum Source<'a> {
    Local(Vec<Group<'a>>),
    Url { address: &'a str, checksum: Option<oci::Digest> },
    Repository(Repository),
}

/// Carries out an ADD.
pub(crate) fn add(stage: &mut StageRun<'_>, at: &Instruction, add: &Add) -> Result<(), BuildError> {
    let expanded = expand(stage, at, &add.transfer, false)?;
    let created_by = history("ADD", &expanded);
    let checksum = add.checksum.as_ref().map(|word| stage.state.expand(word)).transpose();
    let checksum = checksum.map_err(|error| stage.refuse(at, error.to_string()))?;
    let is_remote = |source: &String| remote::kind_of(source) != SourceKind::Local;
    if checksum.is_some() && (expanded.sources.len() != 1 || !is_remote(&expanded.sources[0])) {
        return Err(stage.refuse(at, "--checksum is for one URL or one git repository"));
    }
    if expanded.sources.iter().any(is_remote) {
        return stage.layer_step(at, created_by, |stage, step| {
            Remote { stage, at, add, expanded: &expanded }.step(step, checksum.as_deref())
        });
    }
    let unpacks = add.unpack.is_none_or(|(unpacks, _)| unpacks);
    let context = stage.build.context()?;
    stage.layer_step(at, created_by, |stage, step| {
        if unpacks {
            let groups = source::from_context(context, &expanded.sources, &expanded.choice)
                .map_err(|reason| stage.refuse(at, reason))?;
            let (archives, plain) = unpack::split(Some(context), groups, |_| true)?;
            if !archives.is_empty() {
                return unpack_archives(stage, step, at, &expanded, Some(context), archives, plain);
            }
        }
        transfer(stage, step, at, &expanded, &From::Context(context))
    })
}

/// An ADD with sources of other machines.
struct Remote<'a, 'b> {
    stage: &'a StageRun<'b>,
    at: &'a Instruction,
    add: &'a Add,
    expanded: &'a Expanded,
}

impl<'a> Remote<'a, '_> {
    fn step(&self, step: &Step, checksum: Option<&str>) -> Result<Outcome, BuildError> {
        let (stage, at) = (self.stage, self.at);
        let sources = self.sources(checksum)?;
        let pinned = self.pinned(&sources);
        if let Some(key) = &pinned
            && let Some(known) = stage.known(key)?
        {
            return Ok(Outcome::known(known));
        }
        let work = stage.build.workspace.work_folder()?;
        let context = self.context()?;
        let groups = self.fetch(sources, &work)?;
        let (remote, local) = match self.add.unpack {
            Some((unpacks, _)) => (unpacks, unpacks),
            None => (false, true),
        };
        let (archives, plain) =
            unpack::split(context, groups, |is_local| if is_local { local } else { remote })?;
        let outcome = match archives.is_empty() {
            true => self.copy(step, context, plain)?,
            false => unpack_archives(stage, step, at, self.expanded, context, archives, plain)?,
        };
        if let Some(key) = &pinned {
            stage.remember(key, &outcome.layer, &step.location.instruction, 0)?;
        }
        Ok(outcome)
    }

    /// The context, where something of it is copied.
    fn context(&self) -> Result<Option<&'a Context>, BuildError> {
        let is_local = |source: &String| remote::kind_of(source) == SourceKind::Local;
        let reads = self.expanded.sources.iter().any(is_local);
        reads.then(|| self.stage.build.context()).transpose()
    }

    fn sources(&self, checksum: Option<&str>) -> Result<Vec<Source<'a>>, BuildError> {
        let refuse = |reason: String| self.stage.refuse(self.at, reason);
        let one = |source: &'a String| {
            Ok(match remote::kind_of(source) {
                SourceKind::Local => {
                    let context = self.stage.build.context()?;
                    let local = std::slice::from_ref(source);
                    let groups = source::from_context(context, local, &self.expanded.choice);
                    Source::Local(groups.map_err(refuse)?)
                }
                SourceKind::Url => {
                    let digest = checksum.map(str::parse::<oci::Digest>).transpose();
                    let digest = digest.map_err(|error| {
                        refuse(format!("--checksum={}: {error}", checksum.unwrap_or_default()))
                    })?;
                    Source::Url { address: source, checksum: digest }
                }
                SourceKind::Git => {
                    let keeps = self.add.keep_git_dir.is_some();
                    Source::Repository(Repository::resolve(self.stage, self.at, source, checksum, keeps)?)
                }
            })
        };
        self.expanded.sources.iter().map(one).collect()
    }

    /// Returns the key that needs no bytes of other machines, where the sources say what they will be.
    fn pinned(&self, sources: &[Source<'_>]) -> Option<CacheKey> {
        let mut key = asked_key(self.stage, self.expanded);
        if self.add.unpack.is_some_and(|(unpacks, _)| unpacks) {
            key = key.field("unpacks", "fetched archives");
        }
        for source in sources {
            key = match source {
                Source::Local(groups) => key.list("items", source::fields(groups)),
                Source::Url { checksum, .. } => key.field("checksum", (*checksum)?.to_string()),
                Source::Repository(repository) => repository.field(key),
            };
        }
        Some(key.finish())
    }

    fn fetch(&self, sources: Vec<Source<'a>>, work: &WorkFolder<'_>) -> Result<Vec<Group<'a>>, BuildError> {
        let (stage, at) = (self.stage, self.at);
        let mut groups = Vec::new();
        for (number, source) in sources.into_iter().enumerate() {
            match source {
                Source::Local(local) => groups.extend(local),
                Source::Url { address, checksum } => {
                    let group = remote::fetch(stage, at, address, work, number)?;
                    if let Some(digest) = checksum {
                        let checked = remote::check(&group, address, digest);
                        checked.map_err(|reason| stage.refuse(at, reason))?;
                    }
                    groups.push(group);
                }
                Source::Repository(repository) => {
                    let folder = work.create(&format!("fetched-{number}"))?;
                    groups.extend(git::fetch(stage, at, &repository, &folder, &self.expanded.choice)?);
                }
            }
        }
        Ok(groups)
    }

    fn copy(
        &self,
        step: &Step,
        context: Option<&Context>,
        groups: Vec<Group<'_>>,
    ) -> Result<Outcome, BuildError> {
        let (stage, at, expanded) = (self.stage, self.at, self.expanded);
        let groups = with_documents(groups, &expanded.documents);
        let below = expanded.below(stage)?;
        let owner = stage.owner(at, &below, &expanded.chown)?;
        let chmod = expanded.chmod.as_ref().map(|(_, chmod)| chmod.clone());
        let (workspace, attributes) = (stage.build.workspace, stage.attributes(owner, chmod));
        let placed = place(&below.tree, &expanded.destination, &groups, &attributes, workspace.root())
            .map_err(|error| error.or(|reason| stage.refuse(at, reason)))?;
        stage.known_or(step, &content_key(&placed)?, || {
            let sources = Sources { context, layers: &[] };
            write_layer(workspace, &placed, sources, &step.location.instruction)?
                .map_err(|reason| stage.refuse(at, reason))
        })
    }
}

/// Makes the layer of an ADD that unpacks something.
fn unpack_archives(
    stage: &StageRun<'_>,
    step: &Step,
    at: &Instruction,
    expanded: &Expanded,
    context: Option<&Context>,
    archives: Vec<Archive>,
    plain: Vec<Group<'_>>,
) -> Result<Outcome, BuildError> {
    let fields = source::fields(&plain).chain(archives.iter().map(Archive::field));
    let key: KeyBuilder = asked_key(stage, expanded).field("unpacks", "archives 2").list("items", fields);
    stage.known_or(step, &key.finish(), || {
        let below = expanded.below(stage)?;
        let owner = stage.owner(at, &below, &expanded.chown)?;
        let chmod = expanded.chmod.as_ref().map(|(_, chmod)| chmod.clone());
        let attributes = stage.attributes(owner, chmod);
        let plain = with_documents(plain, &expanded.documents);
        let folder = stage.build.workspace.root();
        let placed = place(&below.tree, &expanded.destination, &plain, &attributes, folder)
            .map_err(|error| error.or(|reason| stage.refuse(at, reason)))?;
        // What an archive brings keeps its modes, and so do the folders it goes to.
        let attributes = stage.attributes(owner, None);
        let unpacking = unpack::Unpacking {
            workspace: stage.build.workspace,
            context,
            below: &below.tree,
            destination: &expanded.destination,
            attributes: &attributes,
        };
        unpacking
            .write_layer(&placed, &archives, &step.location.instruction)?
            .map_err(|reason| stage.refuse(at, reason))
    })
}
