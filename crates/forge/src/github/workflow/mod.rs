//! Workflows that build images today, read for `init --from workflow`.
//!
//! | action | is taken for |
//! |---|---|
//! | `docker/metadata-action` | how tags and labels are computed |
//! | `docker/build-push-action` | an image: context, Dockerfile, stage, arguments, platforms, secrets, caches, pushing |
//! | `docker/login-action`, `setup-*` | steps that stay, or that nobody needs any more |
//! | `docker/bake-action` | its tags; what it builds is in the bake file |
//! | any other step of such a job | listed |
//!
//! Expressions are evaluated for a set of events that the workflow reacts to; the answer, a
//! [`Found`], knows nothing of workflows.

mod build;
mod document;
mod filter;
mod matrix;
mod naming;
mod scope;
mod steps;
mod trials;

use jiff::Timestamp;
use pipeline::moving_in::Found;
use pipeline::yaml::YamlError;

use super::expression::InvalidExpression;

/// What is known of the repository that a workflow is of.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Its full name, such as `acme/shop`.
    pub repository: String,
    /// Its default branch.
    pub default_branch: String,
    /// When the first of the trials happens.
    pub now: Timestamp,
}

/// A workflow cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// It is no YAML, or no workflow.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// An expression is none.
    #[error("line {line}: {source}")]
    Expression {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        source: InvalidExpression,
    },
    /// Nothing in it builds an image.
    #[error("no step of it uses docker/build-push-action, docker/metadata-action or docker/bake-action")]
    NoImage,
    /// It is too large to be one.
    #[error("it has {bytes} bytes, and a workflow has at most {most}")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// What is allowed.
        most: usize,
    },
}

/// The largest workflow, in bytes; the host takes half of that.
const MAX_BYTES: usize = 1 << 20;

/// Reads a workflow.
///
/// # Errors
/// It is no workflow, an expression in it is none, or nothing in it builds an image.
pub fn read(text: &str, surroundings: &Surroundings) -> Result<Found, WorkflowError> {
    if text.len() > MAX_BYTES {
        return Err(WorkflowError::TooLarge { bytes: text.len(), most: MAX_BYTES });
    }
    let workflow = document::read(text)?;
    steps::take(&workflow, text, surroundings)
}

#[cfg(test)]
mod tests;
