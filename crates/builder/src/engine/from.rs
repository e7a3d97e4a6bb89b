//! Where files of a COPY, an ADD or a mount come from: the context, a stage, or an image.

use layer::Tree;

use super::contents::View;
use super::fill::Sources;
use super::items::Group;
use super::place::place;
use super::source;
use super::stage::StageRun;
use super::workspace::LayerRef;
use crate::BuildError;
use crate::context::{Choice, Context};
use crate::dockerfile::{Instruction, Origin};

/// A tree of files that can be read from.
pub(crate) enum From<'a> {
    Context(&'a Context),
    Layers { layers: Vec<LayerRef>, name: String },
}

/// Gives a stage that starts from a folder, by a named context, the files of that folder as its first layer.
pub(crate) fn folder_base(stage: &mut StageRun<'_>) -> Result<(), BuildError> {
    let build = stage.build;
    let Origin::External(name) = &build.graph.bases[stage.stage.index] else { return Ok(()) };
    let Some(context) = build.contexts.folder(build.workspace, name)? else { return Ok(()) };
    let location = build.location(stage.stage.span, &stage.stage.original);
    let refused = |reason| BuildError::Instruction { location: location.clone(), reason };
    let everything = ["/".to_owned()];
    let groups = source::from_context(context, &everything, &Choice::literal()).map_err(refused)?;
    let (nothing, attributes) = (Tree::new(&[]), stage.attributes(None, None));
    let placed = place(&nothing, "/", &groups, &attributes, build.workspace.root())
        .map_err(|error| error.or(refused))?;
    let sources = Sources { context: Some(context), layers: &[] };
    let (layer, _) = stage.known_or_copied(&placed, sources, &location)?.map_err(refused)?;
    stage.state.push_layer(layer, format!("FROM {name}"));
    Ok(())
}

impl<'a> From<'a> {
    /// Returns what an instruction's `--from` or `from=` means.
    pub fn origin(stage: &StageRun<'a>, at: &Instruction, origin: &Origin) -> Result<Self, BuildError> {
        match origin {
            Origin::Stage(index) => {
                if *index >= stage.stage.index {
                    let label = stage.build.dockerfile.stage_label(*index);
                    return Err(stage.refuse(at, format!("{label} comes after this stage or is this stage")));
                }
                let layers = stage.build.stage(*index)?.layers.clone();
                Ok(Self::Layers { layers, name: stage.build.dockerfile.stage_label(*index) })
            }
            Origin::External(name) if name == "scratch" => {
                Ok(Self::Layers { layers: Vec::new(), name: name.clone() })
            }
            Origin::External(name) => {
                if let Some(folder) = stage.build.contexts.folder(stage.build.workspace, name)? {
                    return Ok(Self::Context(folder));
                }
                let layers = stage.build.image(name, &stage.state.platform, &stage.location(at))?.layers;
                Ok(Self::Layers { layers, name: format!("the image {name}") })
            }
        }
    }

    /// Returns what `sources` mean here. The outer error is ours, the inner one the user's.
    pub fn select(
        &self,
        stage: &StageRun<'_>,
        sources: &[String],
        choice: &Choice,
    ) -> Result<Result<Vec<Group<'a>>, String>, BuildError> {
        match self {
            Self::Context(context) => Ok(source::from_context(context, sources, choice)),
            Self::Layers { layers, name } => {
                let view = View::of(stage.build.workspace, layers)?;
                Ok(source::from_layers(&view, name, sources, choice))
            }
        }
    }

    /// Returns the layers that contents lie in; none for a context.
    pub fn layers(&self) -> &[LayerRef] {
        match self {
            Self::Context(_) => &[],
            Self::Layers { layers, .. } => layers,
        }
    }

    /// Returns the context that contents lie in.
    pub fn context(&self) -> Option<&'a Context> {
        match self {
            Self::Context(context) => Some(context),
            Self::Layers { .. } => None,
        }
    }
}
