//! Dockerfile and context to image.
//!
//! This crate owns the Dockerfile language, the context, the step graph, the cache and the sandbox
//! in which steps run. It leaves names, tags and pushing to `pipeline`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use oci::{Annotations, Descriptor, Platform};

/// What builds images: the embedded engine here, BuildKit elsewhere.
pub trait Engine: Send + Sync {
    /// Builds one image for one platform and leaves it in the local store.
    ///
    /// # Errors
    /// See [`BuildError`]; a failing step is `Step`, everything in the Dockerfile is `Dockerfile`.
    fn build(&self, request: &BuildRequest, observer: &dyn Observer) -> Result<Built, BuildError>;
}
