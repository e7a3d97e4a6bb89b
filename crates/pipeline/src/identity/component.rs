//! Git tags that release one service alone: `api/v1.2.3`, `api-v1.2.3`, `api@1.2.3`, `releases/api/1.2.3`.
//!
//! After `-` and `@` a version must follow, so that `web-preview` is no release of `web`; after `/` anything may.
//! A service's own `tag-prefix` takes the place of all these forms. Of several services that a tag
//! could be of, the one with the longest name is meant.

use super::On;
use crate::configuration::{Name, Service};

/// The services of a project, by what their git tags start with.
#[derive(Clone, Debug, Default)]
pub struct Components<'a> {
    services: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Components<'a> {
    /// Returns the components of the configured services.
    pub fn of(services: impl IntoIterator<Item = (&'a Name, &'a Service)>) -> Self {
        let prefix = |service: &'a Service| service.identity.tag_prefix.as_deref();
        let services = services.into_iter().map(|(name, service)| (name.as_str(), prefix(service)));
        Self { services: services.collect() }
    }

    /// Returns no components: every git tag is of the whole project.
    pub const fn none() -> Self {
        Self { services: Vec::new() }
    }

    /// Returns the one service that `tag` releases and what follows its name; `None` where the tag
    /// is of the whole project.
    pub fn released_by<'t>(&self, tag: &'t str) -> Option<(&'a str, &'t str)> {
        let found = self.services.iter().filter_map(|(name, prefix)| {
            let rest = match prefix {
                Some(prefix) => tag.strip_prefix(prefix).filter(|rest| !rest.is_empty()),
                None => after_name(tag, name),
            };
            Some((*name, rest?))
        });
        found.min_by_key(|(_, rest)| rest.len())
    }
}

fn after_name<'t>(tag: &'t str, name: &str) -> Option<&'t str> {
    let inside = ["releases/", "release/"].iter().find_map(|folder| tag.strip_prefix(folder));
    let rest = [Some(tag), inside].into_iter().flatten().find_map(|tag| tag.strip_prefix(name))?;
    match rest.strip_prefix('/') {
        Some(rest) => (!rest.is_empty()).then_some(rest),
        None => rest.strip_prefix(['-', '@']).filter(|rest| starts_a_version(rest)),
    }
}

fn starts_a_version(text: &str) -> bool {
    text.strip_prefix('v').unwrap_or(text).starts_with(|first: char| first.is_ascii_digit())
}

/// A git tag as the rules of one service see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GitTag<'a> {
    /// The whole name.
    pub(super) full: &'a str,
    /// What follows the service's name in a release of it alone; else the whole name.
    pub(super) own: &'a str,
}

impl<'a> GitTag<'a> {
    /// Returns the name that one of `on` is for, without the service's name where both would do.
    pub(super) fn seen_by(&self, on: &[On]) -> Option<&'a str> {
        let matches = |name: &str| on.iter().any(|on| matches!(on, On::Tag(glob) if glob.matches(name)));
        [self.own, self.full].into_iter().find(|name| matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tag: &str, expected: Option<(&str, &str)>) {
        let components = Components {
            services: vec![("api", None), ("api-admin", None), ("web", Some("frontend-")), ("release", None)],
        };
        assert_eq!(components.released_by(tag), expected, "{tag}");
    }

    #[test]
    fn a_tag_names_at_most_one_service() {
        check("api/v1.2.3", Some(("api", "v1.2.3")));
        check("api-v1.2.3", Some(("api", "v1.2.3")));
        check("api-1.2.3", Some(("api", "1.2.3")));
        check("api@1.2.3", Some(("api", "1.2.3")));
        check("releases/api/1.2.3", Some(("api", "1.2.3")));
        check("release/api/nightly", Some(("api", "nightly")));
        check("api-admin-v1.2.3", Some(("api-admin", "v1.2.3")));
        check("api-admin/v1.2.3", Some(("api-admin", "v1.2.3")));
        check("frontend-v1", Some(("web", "v1")));
        check("web/v1", None);
        check("api-preview", None);
        check("release/1.2.3", Some(("release", "1.2.3")));
        check("api/", None);
        check("apis/v1", None);
        check("v1.2.3", None);
        check("", None);
    }
}
