//! What a plan needs to know beside configuration and event, and how a clone is asked for it.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use oci::{Digest, Registry};

use crate::configuration::{Configuration, Name};
use crate::event::{CommitId, Event};
use crate::git::{Checkout, GitError};
use crate::identity::{Description, RegistryTags};

/// What [`super::plan`] must be told, because finding it out is work.
#[derive(Clone, Debug)]
pub struct PlanFacts {
    /// Now.
    pub now: Timestamp,
    /// First line of the commit's message, where the commit is there.
    pub subject: Option<String>,
    /// The time of all images, where the user asks for one (`SOURCE_DATE_EPOCH`).
    pub source_date_epoch: Option<Timestamp>,
    /// All git tags; none where the event is not about one.
    pub existing_tags: Vec<String>,
    /// What the registries of services have, where git's tags are not all there is to know.
    pub registry_tags: BTreeMap<Name, RegistryTags>,
    /// What files of the checkout say of each service.
    pub descriptions: BTreeMap<Name, Description>,
    /// The last image of each service on the event's branch.
    pub last: BTreeMap<Name, LastImage>,
    /// Path of the configuration, from the project's folder; a change of it rebuilds everything.
    pub configuration_path: Option<String>,
    /// Where images go when no registry is configured: `{registry}/{project}/{service}`.
    pub registry: Registry,
}

/// The last image of a service on a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastImage {
    /// Its digest.
    pub digest: Digest,
    /// The commit it was built from.
    pub revision: CommitId,
    /// Paths that changed between that commit and the event's, as seen from the project's folder;
    /// `None` where git cannot tell.
    pub changed_paths: Option<Vec<String>>,
}

impl PlanFacts {
    /// Asks the clone; `folder` is the project's, and `last` has the last image of each service on
    /// the event's branch with the commit it was built from.
    ///
    /// # Errors
    /// `Unreadable` where the clone is damaged.
    pub fn gather(
        checkout: &Checkout,
        folder: &Path,
        event: &Event,
        last: BTreeMap<Name, (Digest, CommitId)>,
        environment: Surroundings,
    ) -> Result<Self, GitError> {
        let inside = checkout.path_in_repository(folder).unwrap_or_default();
        let mut changes: BTreeMap<CommitId, Option<Vec<String>>> = BTreeMap::new();
        let mut images = BTreeMap::new();
        for (name, (digest, revision)) in last {
            if !changes.contains_key(&revision) {
                let changed = checkout.changed_paths(&revision, &event.revision)?;
                let seen_from = |path: &String| seen_from(&inside, path);
                changes.insert(revision.clone(), changed.map(|paths| paths.iter().map(seen_from).collect()));
            }
            let changed_paths = changes[&revision].clone();
            images.insert(name, LastImage { digest, revision, changed_paths });
        }
        Ok(Self {
            now: environment.now,
            source_date_epoch: environment.source_date_epoch,
            registry_tags: BTreeMap::new(),
            descriptions: BTreeMap::new(),
            subject: checkout.commit_subject(&event.revision)?,
            // Only a git tag is compared with others, and a repository may have thousands of them.
            existing_tags: if event.tag().is_some() { checkout.tags()? } else { Vec::new() },
            last: images,
            configuration_path: environment.configuration_path,
            registry: environment.registry,
        })
    }

    /// Reads what files of the project in `folder` say of its services.
    pub fn describe(&mut self, configuration: &Configuration, folder: &Path) {
        let project = Description::read(folder, "");
        let is_only = configuration.service.len() == 1;
        for (name, service) in &configuration.service {
            let context = service.context();
            let own = match context.components().all(|part| part == std::path::Component::CurDir) {
                // The project's title is that of its only service, and of none of several.
                true => Description { title: project.title.clone().filter(|_| is_only), ..project.clone() },
                false => Description::read(&folder.join(context), &context.to_string_lossy()).or(&project),
            };
            self.descriptions.insert(name.clone(), own);
        }
    }
}

/// What no clone knows.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Now.
    pub now: Timestamp,
    /// The time of all images, where the user asks for one (`SOURCE_DATE_EPOCH`).
    pub source_date_epoch: Option<Timestamp>,
    /// Path of the configuration, from the project's folder.
    pub configuration_path: Option<String>,
    /// Where images go when no registry is configured.
    pub registry: Registry,
}

/// Returns a path of the repository as it is named from `folder` of it: `../libs/a` from `services`.
fn seen_from(folder: &str, path: &str) -> String {
    let mut up: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let mut rest = path;
    while let Some((_, inner)) = rest.split_once('/').filter(|(first, _)| up.first() == Some(first)) {
        up.remove(0);
        rest = inner;
    }
    format!("{}{rest}", "../".repeat(up.len()))
}

#[cfg(test)]
mod tests {
    use testkit::git::GitRepository;

    use super::*;

    #[test]
    fn paths_are_seen_from_the_projects_folder() {
        assert_eq!(seen_from("", "services/api/a"), "services/api/a");
        assert_eq!(seen_from("shop", "shop/api/a"), "api/a");
        assert_eq!(seen_from("shop", "README.md"), "../README.md");
        assert_eq!(seen_from("a/b", "a/c/d"), "../c/d");
        assert_eq!(seen_from("a/b", "a"), "../../a");
    }

    #[test]
    fn the_clone_tells_what_changed_since_each_image() {
        let repository = GitRepository::with_files(&[("shop/api/a", "1"), ("shop/web/w", "1")]);
        let first: CommitId = repository.head().parse().unwrap();
        repository.lightweight_tag("v1.0.0");
        repository.write("shop/web/w", "2");
        repository.write("libs/x", "1");
        repository.commit("feat: web");
        let checkout = Checkout::open(repository.path()).unwrap();
        let event = checkout.event().unwrap();
        let lost: CommitId = "0".repeat(40).parse().unwrap();
        let image = |revision: &CommitId| (Digest::of(b"x"), revision.clone());
        let last = [("api", image(&first)), ("web", image(&lost)), ("worker", image(&event.revision))];
        let last = last.map(|(name, image)| (name.parse().unwrap(), image)).into();
        let environment = Surroundings {
            now: event.committed,
            source_date_epoch: None,
            configuration_path: Some("plimsoll.toml".to_owned()),
            registry: "127.0.0.1:5000".parse().unwrap(),
        };
        let folder = repository.path().join("shop");
        let released = event.clone().assume(&"tag:v1.1.0".parse().unwrap());
        let of_release =
            PlanFacts::gather(&checkout, &folder, &released, BTreeMap::new(), environment.clone()).unwrap();
        assert_eq!(of_release.existing_tags, ["v1.0.0"]);
        let facts = PlanFacts::gather(&checkout, &folder, &event, last, environment).unwrap();
        assert_eq!(facts.subject.as_deref(), Some("feat: web"));
        assert_eq!(facts.existing_tags, [""; 0]);
        let changed = |name: &str| facts.last[name].changed_paths.clone();
        assert_eq!(changed("api").unwrap(), ["../libs/x", "web/w"]);
        assert_eq!(changed("web"), None);
        assert_eq!(changed("worker").unwrap(), [""; 0]);
    }
}
