//! Where files of a COPY, an ADD or a mount come from: the context, a stage, or an image.

use super::contents::View;
use super::place::Group;
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
    ) -> Result<Result<Vec<Group>, String>, BuildError> {
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
