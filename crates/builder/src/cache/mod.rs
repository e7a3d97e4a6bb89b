//! Which step gives which layer: keys by content, records on disk.
//!
//! A key is computed from everything a step's result depends on and from nothing else:
//!
//! | step | the key holds |
//! |---|---|
//! | RUN | layers below (by diff id), command, environment and arguments in scope, folder, user, network, mounts, epoch where set |
//! | COPY, ADD | destination after resolving, owner, mode, and for each entry its path, kind, mode, link target and content digest; of the layers below only what resolving looked at |
//! | WORKDIR | path, owner, and whether it is there already |
//!
//! Times, owners of context files, names of stages, and the text of the Dockerfile are not in it,
//! so a step is found again whatever machine or checkout it runs in. Because the key holds results
//! (diff ids) and not the keys of earlier steps, an earlier step that ran again and gave the same
//! bytes does not disturb what comes after it.

mod artifact;
mod budget;
mod carried;
mod inputs;
mod key;
mod merge;
mod record;
mod shared_inputs;
mod tier;

pub(crate) use artifact::MAX_INDEX_BYTES;
pub use artifact::{
    CACHE_TYPE, CacheArtifact, INDEX_TYPE, InvalidArtifact, LayerEntry, MAX_CONFIG_BYTES, StepEntry, Usage,
};
pub use budget::{Budget, CachedLayer, GRACE, Kept, KeptKind, PrunePlan};
pub(crate) use carried::MAX_INPUTS_BYTES;
pub use carried::{INPUTS_TYPE, InputsEntry, MOUNT_TYPE, MountEntry, UsedMount};
pub use inputs::{Change, Input, Inputs, Places};
pub use key::{CacheKey, KeyBuilder};
pub use merge::{Limits, Used, merge};
pub use record::{KeptRecord, KeyGuard, Records, StepRecord};
pub(crate) use shared_inputs::{SharedInputs, is_hidden};
pub(crate) use tier::Answer;
pub use tier::{Found, OnCacheError, Tier, TierName, Tiers};
