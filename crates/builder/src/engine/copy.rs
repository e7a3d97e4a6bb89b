//! COPY, and what ADD has in common with it: from the instruction to a layer, reading as little as the cache allows.
//!
//! A step is looked up twice. The first key holds what was asked for: the layers below and what was
//! selected. The second holds the entries that come of it, so that a base that changed without
//! changing what is copied, or how, gives the layer that is there already.

use std::time::Instant;

use layer::LayerPath;

use super::contents::View;
use super::fill::{Sources, write_layer};
use super::from::From;
use super::items::{Content, Group, Item, ItemKind, Items};
use super::place::{content_key, place};
use super::placed::PlacedList;
use super::remote::{self, SourceKind};
use super::source;
use super::stage::{Outcome, StageRun, Step};
use super::workspace::{LayerRef, chain};
use crate::BuildError;
use crate::cache::KeyBuilder;
use crate::context::Choice;
use crate::dockerfile::{Chmod, Copy, Instruction, Transfer, Word};
use crate::error::Location;

/// A transfer with its variables expanded.
pub(crate) struct Expanded {
    pub sources: Vec<String>,
    /// As written, for the history.
    given: String,
    pub destination: String,
    pub chown: String,
    pub chmod: Option<(String, Chmod)>,
    /// Here-documents by name and content.
    pub documents: Vec<(String, Vec<u8>)>,
    pub choice: Choice,
    exclude: Vec<String>,
    /// Whether the layer is made as if there were none below.
    link: bool,
}

impl Expanded {
    /// Returns the view that the destination is looked up in.
    pub fn below(&self, stage: &StageRun<'_>) -> Result<View, BuildError> {
        if self.link { View::of(stage.build.workspace, &[]) } else { stage.view() }
    }
}

/// Carries out a COPY.
pub(crate) fn copy(stage: &mut StageRun<'_>, at: &Instruction, copy: &Copy) -> Result<(), BuildError> {
    let expanded = expand(stage, at, &copy.transfer, copy.parents.is_some())?;
    let from = match &copy.from {
        None => From::Context(stage.build.context()?),
        Some(_) => match stage.build.dockerfile.origins(at)?.first() {
            Some((origin, _)) => From::origin(stage, at, origin)?,
            None => From::Context(stage.build.context()?),
        },
    };
    let is_elsewhere = |source: &&String| source.starts_with("git@") || source.contains("://");
    let mut elsewhere = expanded.sources.iter().filter(is_elsewhere);
    if let Some(source) = elsewhere.find(|source| remote::kind_of(source) != SourceKind::Local) {
        return Err(stage.refuse(at, format!("COPY takes nothing from other machines: ADD fetches {source}")));
    }
    let created_by = history("COPY", &expanded);
    stage.layer_step(at, created_by, |stage, step| transfer(stage, step, at, &expanded, &from))
}

/// Makes the layer of a COPY, or of an ADD that unpacks nothing.
pub(crate) fn transfer(
    stage: &StageRun<'_>,
    step: &Step,
    at: &Instruction,
    expanded: &Expanded,
    from: &From<'_>,
) -> Result<Outcome, BuildError> {
    let refuse = |reason: String| stage.refuse(at, reason);
    let (asked, groups) = match from {
        From::Context(context) => {
            let groups =
                source::from_context(context, &expanded.sources, &expanded.choice).map_err(refuse)?;
            (asked_key(stage, expanded).list("items", source::fields(&groups)), Some(groups))
        }
        From::Layers { layers, .. } => {
            (asked_key(stage, expanded).field("from", chain(layers).as_bytes()), None)
        }
    };
    let asked = asked.finish();
    let _ = step.asked.set(asked.clone());
    if let Some(known) = stage.known(&asked)? {
        return Ok(Outcome::known(known));
    }
    let groups = match groups {
        Some(groups) => groups,
        None => from.select(stage, &expanded.sources, &expanded.choice)?.map_err(refuse)?,
    };
    let below = expanded.below(stage)?;
    let owner = stage.owner(at, &below, &expanded.chown)?;
    let chmod = expanded.chmod.as_ref().map(|(_, chmod)| chmod.clone());
    let groups = with_documents(groups, &expanded.documents);
    let (workspace, attributes) = (stage.build.workspace, stage.attributes(owner, chmod));
    let placed = place(&below.tree, &expanded.destination, &groups, &attributes, workspace.root())
        .map_err(|error| error.or(|reason| stage.refuse(at, reason)))?;
    let outcome = stage.known_or(step, &content_key(&placed)?, || {
        let sources = Sources { context: from.context(), layers: from.layers() };
        write_layer(workspace, &placed, sources, &step.location.instruction)?
            .map_err(|reason| stage.refuse(at, reason))
    })?;
    stage.remember(&asked, &outcome.layer, &step.location.instruction, 0)?;
    Ok(outcome)
}

impl StageRun<'_> {
    /// Returns the layer of entries that are copied beside the steps of the stage, and whether it had to be made. The
    /// inner error is the user's: a file changed meanwhile.
    pub fn known_or_copied(
        &self,
        placed: &PlacedList,
        sources: Sources<'_>,
        location: &Location,
    ) -> Result<Result<(LayerRef, bool), String>, BuildError> {
        let key = content_key(placed)?;
        let workspace = self.build.workspace;
        let _guard = self.lock(&key)?;
        if let Some(known) = self.known(&key)? {
            return Ok(Ok((known.layer, false)));
        }
        let started = Instant::now();
        let layer = match write_layer(workspace, placed, sources, &location.instruction)? {
            Ok(layer) => layer,
            Err(reason) => return Ok(Err(reason)),
        };
        self.remember(&key, &layer, &location.instruction, started.elapsed().as_millis() as u64)?;
        Ok(Ok((layer, true)))
    }
}

/// Returns the key of what was asked for, without what was selected.
pub(crate) fn asked_key(stage: &StageRun<'_>, expanded: &Expanded) -> KeyBuilder {
    let chmod = expanded.chmod.as_ref().map_or("", |(text, _)| text);
    let documents = expanded.documents.iter().flat_map(|(name, content)| [name.as_bytes(), content]);
    let below: &[LayerRef] = if expanded.link { &[] } else { &stage.state.layers };
    KeyBuilder::new("copy")
        .field("below", chain(below).as_bytes())
        .list("exclude", &expanded.exclude)
        .field("parents", if expanded.choice.parents { "yes" } else { "" })
        .list("sources", &expanded.sources)
        .field("destination", &expanded.destination)
        .field("chown", &expanded.chown)
        .field("chmod", chmod)
        .list("documents", documents)
        .field("epoch", format!("{:?}", stage.build.request.source_date_epoch))
}

/// Expands the variables of a transfer.
pub(crate) fn expand(
    stage: &StageRun<'_>,
    at: &Instruction,
    transfer: &Transfer,
    parents: bool,
) -> Result<Expanded, BuildError> {
    let word = |word: &Word| stage.state.expand(word).map_err(|error| stage.refuse(at, error.to_string()));
    let optional = |flag: &Option<Word>| flag.as_ref().map(&word).transpose();
    let sources: Vec<String> = transfer.sources.iter().map(&word).collect::<Result<_, _>>()?;
    let given = word(&transfer.destination)?;
    if given.is_empty() {
        return Err(stage.refuse(at, "the destination is empty"));
    }
    let folder = given.ends_with('/') || given == "." || given.ends_with("/.");
    let mut destination = stage.state.absolute(&given);
    if folder && !destination.ends_with('/') {
        destination.push('/');
    }
    let chmod = match optional(&transfer.chmod)? {
        Some(text) => {
            let chmod = Chmod::parse(&text).map_err(|reason| stage.refuse(at, reason))?;
            Some((text, chmod))
        }
        None => None,
    };
    let document = |heredoc: &crate::dockerfile::Heredoc| {
        let text = stage.expand_document(heredoc)?;
        Ok((heredoc.name.clone(), text.into_bytes()))
    };
    let documents = transfer.heredocs.iter().map(document).collect::<Result<_, BuildError>>()?;
    let exclude: Vec<String> = transfer.exclude.iter().map(&word).collect::<Result<_, _>>()?;
    let choice = Choice::new(parents, &exclude).map_err(|error| stage.refuse(at, error.to_string()))?;
    Ok(Expanded {
        sources,
        given,
        destination,
        chown: optional(&transfer.chown)?.unwrap_or_default(),
        // BuildKit links only where no mode is asked for; the files are the same.
        link: transfer.link.is_some() && chmod.is_none(),
        chmod,
        documents,
        choice,
        exclude,
    })
}

/// Adds the here-documents of a transfer to what was selected.
pub(crate) fn with_documents<'a>(
    mut groups: Vec<Group<'a>>,
    documents: &[(String, Vec<u8>)],
) -> Vec<Group<'a>> {
    for (name, content) in documents {
        let kind = ItemKind::File {
            size: content.len() as u64,
            digest: oci::Digest::of(content),
            content: Content::Inline(content.clone()),
        };
        let item = Item {
            relative: LayerPath::new(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: None,
            first_name: None,
            xattrs: std::collections::BTreeMap::new(),
        };
        let items = Items::Listed(vec![item]);
        groups.push(Group { name: name.clone().into_bytes(), is_folder: false, items });
    }
    groups
}

/// Returns what the history says of a transfer.
pub(crate) fn history(keyword: &str, expanded: &Expanded) -> String {
    let mut text = keyword.to_owned();
    if expanded.choice.parents {
        text += " --parents";
    }
    for (flag, value) in
        [("chown", expanded.chown.as_str()), ("chmod", expanded.chmod.as_ref().map_or("", |(text, _)| text))]
    {
        if !value.is_empty() {
            text += &format!(" --{flag}={value}");
        }
    }
    let documents = expanded.documents.iter().map(|(name, _)| format!("<<{name}"));
    for source in expanded.sources.iter().cloned().chain(documents) {
        text += &format!(" {source}");
    }
    format!("{text} {} # buildkit", expanded.given)
}
