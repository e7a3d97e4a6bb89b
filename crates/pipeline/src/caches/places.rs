//! Which caches a service reads and writes in an event: the places of `[defaults.cache]` with their fields filled
//! in, and what the event may not touch left out.
//!
//! | event | reads | writes |
//! |---|---|---|
//! | of a fork | what has its fields | nothing |
//! | pull request, merge group | what has its fields | only what builds of the default branch do not read |
//! | any other | what has its fields | what has its fields |
//!
//! An image that is a place to read from gets what the next build needs attached, by whoever may write.

use oci::{Repository, Tag};

use super::{CacheName, MAX_NAME};
use crate::configuration::{Cache, CacheKind, CachePlace, Name, OnError};
use crate::event::Event;
use crate::identity::slug;
use crate::identity::template::{Field, Nothing};

/// The caches of one service in one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceCaches {
    /// In the order they are asked; each once.
    pub read: Vec<CacheName>,
    /// Each once.
    pub write: Vec<CacheName>,
    /// What is left out and why, for people.
    pub notes: Vec<String>,
    /// What a failure does.
    pub on_error: OnError,
}

impl ServiceCaches {
    /// Returns the caches of the service `name`, whose image is `image`.
    pub fn plan(cache: &Cache, event: &Event, name: &Name, image: &Repository) -> Self {
        let subject = Subject { event, service: name.as_str(), image };
        let mut caches = Self { on_error: cache.on_error, ..Self::default() };
        for place in &cache.read {
            match subject.name(place, event.branch()) {
                Ok(name) => add(&mut caches.read, name),
                Err(Nothing(reason)) => caches.notes.push(format!("the cache {place} is not read: {reason}")),
            }
        }
        let attached = cache.read.iter().filter(|place| place.kind == CacheKind::Image);
        for place in cache.write.iter().chain(attached) {
            match subject.writable(place) {
                Ok(name) => add(&mut caches.write, name),
                Err(Nothing(reason)) => {
                    caches.notes.push(format!("the cache {place} is not written: {reason}"))
                }
            }
        }
        caches.notes.dedup();
        caches
    }
}

fn add(names: &mut Vec<CacheName>, name: CacheName) {
    if !names.contains(&name) {
        names.push(name);
    }
}

/// What the fields of a place stand for.
struct Subject<'a> {
    event: &'a Event,
    service: &'a str,
    image: &'a Repository,
}

impl Subject<'_> {
    /// Returns the place to write to, where the event may.
    fn writable(&self, place: &CachePlace) -> Result<CacheName, Nothing> {
        if self.event.is_fork() {
            return Err(Nothing("what a fork builds is nobody else's to use".to_owned()));
        }
        let name = self.name(place, self.event.branch())?;
        let default = self.event.default_branch.as_deref().or(Some("main"));
        let is_shared =
            || place.kind == CacheKind::Image || self.default_name(place, default).as_ref() == Ok(&name);
        if self.event.is_proposal() && is_shared() {
            let branch = default.unwrap_or_default();
            return Err(Nothing(format!("builds of {branch} read it, and this is not merged yet")));
        }
        Ok(name)
    }

    /// Returns the place as a build of the default branch has it, which has no pull request.
    fn default_name(&self, place: &CachePlace, default: Option<&str>) -> Result<CacheName, Nothing> {
        self.render(place, |field| match field {
            Field::PullRequest => Err(Nothing("a branch has no number".to_owned())),
            field => self.value(field, default),
        })
    }

    fn name(&self, place: &CachePlace, branch: Option<&str>) -> Result<CacheName, Nothing> {
        self.render(place, |field| self.value(field, branch))
    }

    fn render(
        &self,
        place: &CachePlace,
        value: impl Fn(&Field) -> Result<String, Nothing>,
    ) -> Result<CacheName, Nothing> {
        let in_tag = matches!(place.kind, CacheKind::Registry | CacheKind::Image);
        let fits = |value: String, field: &Field| match field {
            // Branches have slashes, which no tag has.
            Field::Branch | Field::Default | Field::Tag if in_tag && value.parse::<Tag>().is_err() => {
                slug(&value)
            }
            _ => value,
        };
        let name = place.name.render(MAX_NAME, |field| Ok(fits(value(field)?, field)))?;
        Ok(CacheName { kind: place.kind, name })
    }

    fn value(&self, field: &Field, branch: Option<&str>) -> Result<String, Nothing> {
        let event = self.event;
        let or_none = |value: Option<String>, what: &str| {
            value.ok_or_else(|| Nothing(format!("{{{field}}} is empty: {} {what}", event.kind)))
        };
        match field {
            Field::PullRequest => {
                or_none(event.pull_request().map(|number| number.to_string()), "has no number")
            }
            Field::Branch => or_none(branch.map(str::to_owned), "has no branch of this repository"),
            Field::Tag => or_none(event.tag().map(str::to_owned), "has no git tag"),
            Field::Default => or_none(event.default_branch.clone(), "does not say the default branch"),
            Field::Run => or_none(event.run.as_ref().map(|run| run.id.clone()), "has no CI run"),
            Field::Service => Ok(self.service.to_owned()),
            Field::Image => Ok(self.image.to_string()),
            Field::LongSha => Ok(event.revision.to_string()),
            _ => Err(Nothing(format!("{{{field}}} is not for cache locations"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;
    use crate::event::{Kind, PullRequest};

    fn cache(read: &[&str], write: &[&str]) -> Cache {
        let places = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Cache { read: places(read), write: places(write), ..Cache::default() }
    }

    fn contract() -> Cache {
        cache(
            &[
                "ci:{branch}",
                "ci:{default}",
                "registry:{image}:cache-{branch}",
                "registry:{image}:cache-{default}",
                "image:{image}:{default}",
            ],
            &["ci:{branch}", "registry:{image}:cache-{branch}", "registry:{image}:cache"],
        )
    }

    #[track_caller]
    fn check(cache: &Cache, kind: Kind, read: &[&str], write: &[&str]) {
        let event = event(kind);
        let image = "ghcr.io/acme/api".parse().unwrap();
        let caches = ServiceCaches::plan(cache, &event, &"api".parse().unwrap(), &image);
        let texts = |names: &[CacheName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&caches.read), read, "read {:?}", caches.notes);
        assert_eq!(texts(&caches.write), write, "written {:?}", caches.notes);
    }

    fn pull_request(head: &str, fork: bool) -> Kind {
        let head_ref = Some(head.to_owned());
        Kind::PullRequest(PullRequest {
            number: 7,
            head_sha: None,
            merge_sha: None,
            head_ref,
            base_ref: None,
            fork,
        })
    }

    #[test]
    fn a_branch_reads_its_own_and_the_default_and_writes_its_own() {
        check(
            &contract(),
            Kind::Branch { branch: "feature/X".to_owned() },
            &[
                "ci:feature/X",
                "ci:main",
                "registry:ghcr.io/acme/api:cache-feature-x",
                "registry:ghcr.io/acme/api:cache-main",
                "image:ghcr.io/acme/api:main",
            ],
            &[
                "ci:feature/X",
                "registry:ghcr.io/acme/api:cache-feature-x",
                "registry:ghcr.io/acme/api:cache",
                "image:ghcr.io/acme/api:main",
            ],
        );
    }

    #[test]
    fn a_pull_request_writes_nothing_that_the_default_branch_reads() {
        check(
            &contract(),
            pull_request("fix", false),
            &[
                "ci:fix",
                "ci:main",
                "registry:ghcr.io/acme/api:cache-fix",
                "registry:ghcr.io/acme/api:cache-main",
                "image:ghcr.io/acme/api:main",
            ],
            &["ci:fix", "registry:ghcr.io/acme/api:cache-fix"],
        );
        // Whoever names the branch of a pull request `main` gains nothing by it.
        let named_main = ["ci:main", "registry:ghcr.io/acme/api:cache-main", "image:ghcr.io/acme/api:main"];
        check(&contract(), pull_request("main", false), &named_main, &[]);
    }

    #[test]
    fn a_fork_reads_and_writes_nothing() {
        let read = ["ci:main", "registry:ghcr.io/acme/api:cache-main", "image:ghcr.io/acme/api:main"];
        check(&contract(), pull_request("main", true), &read, &[]);
        check(&cache(&[], &["registry:{image}:pr-{pr}"]), pull_request("x", true), &[], &[]);
        let own = ["registry:ghcr.io/acme/api:pr-7"];
        check(&cache(&[], &["registry:{image}:pr-{pr}"]), pull_request("x", false), &[], &own);
    }

    #[test]
    fn a_tag_reads_the_default_branch() {
        let read = ["ci:main", "registry:ghcr.io/acme/api:cache-main", "image:ghcr.io/acme/api:main"];
        let write = ["registry:ghcr.io/acme/api:cache", "image:ghcr.io/acme/api:main"];
        check(&contract(), Kind::Tag { tag: "v1".to_owned() }, &read, &write);
    }
}
