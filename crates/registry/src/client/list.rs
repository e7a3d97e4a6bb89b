//! Lists that come in pages: tags and repositories. Source: distribution-spec v1.1, "Listing Tags".
//!
//! The `Link` of an answer leads to the next page. Servers are not trusted to end: a page that
//! leads to one that was read already, or a list without end, is an error.

use std::collections::HashSet;

use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, LINK};
use hyper::{Method, StatusCode, Uri};
use oci::{Registry, Repository, Tag};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Failure;
use super::address::{Origin, without_query};
use super::host::{Call, Host, JSON_LIMIT, first_words};
use super::payload::Payload;
use super::scope::Scope;
use super::transport::Reply;
use crate::protocol::{Endpoint, link};

/// What most registries give at most.
const PAGE: usize = 1000;
const MAX_PAGES: usize = 10_000;
/// How much memory the names of one list may take, in bytes: those of a million tags.
const MAX_NAME_BYTES: usize = 64 << 20;
/// What a name takes beside its letters.
const NAME_BYTES: usize = 32;

#[derive(Deserialize)]
struct TagPage {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct CatalogPage {
    repositories: Option<Vec<String>>,
}

/// Returns all tags in ascending order; none where the repository is unknown. Names outside the
/// grammar, which some registries hold, cannot be asked for and are left out.
pub(crate) fn tags(host: &Host, repository: &Repository) -> Result<Vec<Tag>, Failure> {
    let path = format!("{}?n={PAGE}", Endpoint::Tags(repository.clone()));
    let mut tags: Vec<Tag> = Vec::new();
    let call = |address| Call {
        repository: Some(repository),
        ..list_call(address, Scope::pull(repository), format!("list of the tags of {repository}"))
    };
    pages(host, &path, call, |page: TagPage| {
        let names = page.tags.unwrap_or_default();
        tags.extend(names.iter().filter_map(|tag| tag.parse().ok()));
        weight(&names)
    })?;
    tags.sort();
    tags.dedup();
    Ok(tags)
}

/// Returns all repositories that can be named, in the order they come, under the name of `registry`.
pub(crate) fn catalog(host: &Host, registry: &Registry) -> Result<Vec<Repository>, Failure> {
    let path = format!("{}?n={PAGE}", Endpoint::Catalog);
    let mut repositories = Vec::new();
    let call =
        |address| list_call(address, Scope::catalog(), format!("list of the repositories of {registry}"));
    pages(host, &path, call, |page: CatalogPage| {
        let names = page.repositories.unwrap_or_default();
        repositories.extend(names.iter().filter_map(|name| Repository::new(registry.clone(), name).ok()));
        weight(&names)
    })?;
    Ok(repositories)
}

fn list_call(address: Uri, scope: Scope, what: String) -> Call<'static> {
    Call {
        method: Method::GET,
        address,
        headers: Vec::new(),
        payload: Payload::empty(),
        repository: None,
        scope,
        expected: &[StatusCode::OK],
        what,
    }
}

fn pages<'a, P: DeserializeOwned>(
    host: &Host,
    path: &str,
    call: impl Fn(Uri) -> Call<'a>,
    mut take: impl FnMut(P) -> usize,
) -> Result<(), Failure> {
    let origin = host.origin()?;
    let mut address = host.at(path)?;
    let mut seen = HashSet::new();
    let mut bytes = 0_usize;
    loop {
        if !seen.insert(address.to_string()) {
            return Err(Failure::protocol("the pages of the list lead in a circle"));
        }
        if seen.len() > MAX_PAGES {
            return Err(Failure::protocol(format!("the list has more than {MAX_PAGES} pages")));
        }
        let reply = host.call(&call(address.clone()))?;
        let next = reply.headers.get_all(LINK).iter().filter_map(|header| header.to_str().ok());
        let next = next.filter_map(link::parse_next).next().map(str::to_owned);
        bytes = bytes.saturating_add(take(json(reply)?));
        if bytes > MAX_NAME_BYTES {
            return Err(Failure::protocol(format!(
                "the names of the list take more than {MAX_NAME_BYTES} bytes"
            )));
        }
        let Some(next) = next else { return Ok(()) };
        address = next_page(&origin, &address, &next)?;
    }
}

fn weight(names: &[String]) -> usize {
    names.iter().map(|name| name.len() + NAME_BYTES).sum()
}

/// Returns the address of the next page, which no registry has at another host.
pub(crate) fn next_page(origin: &Origin, page: &Uri, link: &str) -> Result<Uri, Failure> {
    let address = origin.follow(page, link)?;
    if origin.holds(&address) {
        return Ok(address);
    }
    let reason = "the next page of a list is not at another host".to_owned();
    Err(Failure::Address { address: without_query(link), reason })
}

/// Says how an answer is encoded that was to come as it is.
pub(crate) fn encoding(reply: &Reply) -> Option<String> {
    let encoding = reply.header(CONTENT_ENCODING.as_str())?.trim();
    let is_none = encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
    (!is_none)
        .then(|| format!("it came encoded as {}, which was not asked for", first_words(encoding, false)))
}

/// Reads the JSON of an answer; a page of HTML is named as what it is.
pub(crate) fn json<T: DeserializeOwned>(reply: Reply) -> Result<T, Failure> {
    let is_html = reply.header(CONTENT_TYPE.as_str()).is_some_and(|text| text.starts_with("text/html"));
    let encoded = encoding(&reply);
    let body = reply.body.all(JSON_LIMIT)?;
    serde_json::from_slice(&body).map_err(|error| {
        let words = encoded.unwrap_or_else(|| first_words(&String::from_utf8_lossy(&body), is_html));
        Failure::protocol(format!("JSON was expected ({error}); {words}"))
    })
}
