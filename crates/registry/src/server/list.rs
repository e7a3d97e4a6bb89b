//! Lists of tags and repositories, in pages. Source: distribution-spec v1.1, "Listing Tags".

use hyper::StatusCode;
use hyper::header::LINK;
use oci::{Repository, Tag};
use serde::Serialize;
use store::StoreError;

use super::answer;
use super::refusal::Refusal;
use super::routes::{Answer, Question, State};
use super::storage::Storage;
use crate::protocol::query::with_pair;
use crate::protocol::{Endpoint, ErrorCode, link};

/// The most names one answer holds, whatever the client asks for.
const MAX_PAGE: usize = 10_000;

#[derive(Serialize)]
struct TagList<'a> {
    name: &'a str,
    tags: &'a [String],
}

#[derive(Serialize)]
struct Catalog<'a> {
    repositories: &'a [String],
}

/// Answers the list of tags.
pub(super) fn tags(state: &State, question: &Question, name: &Repository) -> Answer {
    let repository = state.repository(name);
    let tags = state.on_disk(|| -> Result<_, StoreError> {
        let tags = repository.tags()?;
        let is_known = !tags.is_empty() || repository.has_manifests()?;
        Ok(is_known.then_some(tags))
    });
    let tags = tags.map_err(unknown)?.ok_or_else(|| {
        let message = format!("there is no repository {}", name.path());
        Refusal::new(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, message)
    })?;
    tags_of(question, name, &tags)
}

/// Answers with a page of the tags, which are in ascending order.
pub(super) fn tags_of(question: &Question, name: &Repository, tags: &[Tag]) -> Answer {
    let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
    let page = Page::cut(question, &tags)?;
    let response = answer::list(&TagList { name: name.path(), tags: page.names });
    Ok(page.link(&Endpoint::Tags(name.clone()), response))
}

/// Answers the list of repositories.
pub(super) fn catalog(state: &State, question: &Question) -> Answer {
    let repositories = state.on_disk(|| repositories(state)).map_err(unknown)?;
    let client_name = |one: &Repository| match (one.registry().is_local(), &state.proxy) {
        (true, _) => Some(one.clone()),
        (false, Some(proxy)) => proxy.client_name(one),
        (false, None) => None,
    };
    let served = repositories.iter().filter_map(client_name);
    let shown = served.filter(|one| question.may_pull_from(one));
    let mut names: Vec<String> = shown.map(|one| one.path().to_owned()).collect();
    names.sort();
    names.dedup();
    let page = Page::cut(question, &names)?;
    let response = answer::list(&Catalog { repositories: page.names });
    Ok(page.link(&Endpoint::Catalog, response))
}

/// Returns our own repositories and those of which something is kept.
fn repositories(state: &State) -> Result<Vec<Repository>, StoreError> {
    let mut found = state.storage().repositories()?;
    if state.options.bucket.is_some() && state.proxy.is_some() {
        let kept = Storage::Folder(&state.options.store).repositories()?;
        found.extend(kept.into_iter().filter(|one| !one.registry().is_local()));
    }
    Ok(found)
}

struct Page<'a> {
    names: &'a [String],
    size: usize,
    is_last: bool,
}

impl<'a> Page<'a> {
    /// Returns the part of a sorted list that follows `last` and has at most `n` names.
    fn cut(question: &Question, names: &'a [String]) -> Result<Self, Refusal> {
        let size = match question.query("n") {
            None => MAX_PAGE,
            Some(text) => text.parse::<usize>().map(|n| n.min(MAX_PAGE)).map_err(|_| {
                let code = ErrorCode::Other("PAGINATION_NUMBER_INVALID".to_owned());
                Refusal::bad_request(code, "n is not a number")
            })?,
        };
        let last = question.query("last").unwrap_or_default();
        let rest = &names[names.partition_point(|name| name.as_str() <= last)..];
        Ok(Self { names: &rest[..size.min(rest.len())], size, is_last: rest.len() <= size })
    }

    fn link(
        &self,
        endpoint: &Endpoint,
        response: hyper::Response<super::body::Content>,
    ) -> hyper::Response<super::body::Content> {
        match self.names.last() {
            Some(last) if !self.is_last => {
                let next =
                    with_pair(&with_pair(&endpoint.to_string(), "n", &self.size.to_string()), "last", last);
                answer::with(response, LINK, link::next(&next))
            }
            _ => response,
        }
    }
}

fn unknown(error: StoreError) -> Refusal {
    Refusal::store(error, ErrorCode::NameUnknown)
}
