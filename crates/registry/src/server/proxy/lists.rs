//! Lists of another registry; of what is kept, where it does not answer.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use oci::{Digest, Repository};
use store::{ImageStore as _, StoreError};

use super::{Mapped, Proxy, refusal};
use crate::protocol::ErrorCode;
use crate::server::routes::{Answer, Question, State};
use crate::server::{list, referrers as listed};

/// Answers the list of tags.
pub(super) async fn tags(state: &State, question: &Question, proxy: &Arc<Proxy>, mapped: &Mapped) -> Answer {
    let upstream = &mapped.upstream;
    let mut tags = match proxy.ask(upstream, |remote| remote.tags()).await {
        Err(error @ StoreError::Unreachable { .. }) => {
            let kept = state.on_disk(|| proxy.view(upstream).tags()).unwrap_or_default();
            if kept.is_empty() {
                return Err(refusal(&error, ErrorCode::NameUnknown));
            }
            proxy.counts.stale.fetch_add(1, Relaxed);
            proxy.report(format!("the tags of {upstream}"), &error, true);
            kept
        }
        tags => tags.map_err(|error| refusal(&error, ErrorCode::NameUnknown))?,
    };
    tags.sort();
    list::tags_of(question, &mapped.client, &tags)
}

/// Answers the list of what refers to a manifest.
pub(super) async fn referrers(
    state: &State,
    question: &Question,
    proxy: &Arc<Proxy>,
    upstream: &Repository,
    subject: &Digest,
) -> Answer {
    let found = match proxy.ask(upstream, |remote| remote.referrers(subject)).await {
        Err(error @ StoreError::Unreachable { .. }) => {
            proxy.counts.stale.fetch_add(1, Relaxed);
            proxy.report(format!("what refers to {upstream}@{subject}"), &error, true);
            state.on_disk(|| state.referrers.of_folder(&proxy.view(upstream), subject))
        }
        found => found,
    };
    let found = found.map_err(|error| refusal(&error, ErrorCode::NameUnknown))?;
    Ok(listed::answer_with(question, found))
}
