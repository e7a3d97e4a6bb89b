//! Labels and annotations of an image, each with the source it came from.
//!
//! | key | sources, in order; the first that says something wins |
//! |---|---|
//! | any | `[service.NAME.identity.labels]`, `[identity.labels]` |
//! | `title` | README of the service's own folder, the service's name |
//! | `description` | the event, package description and README of the service's folder, of the project's |
//! | `licenses` | the event, package metadata and LICENSE, likewise |
//! | `authors` `documentation` | package metadata, likewise |
//! | `url` | the event's address of the repository, package metadata |
//! | `source` | the event's address of the repository |
//! | `version` `revision` `created` | the git tag or first tag, the commit, `created` of `[identity]` |
//! | `PREFIX.feature.branch` | the branch, where it is not the default one |
//! | `PREFIX.pull.request` | number of the pull request |
//! | `PREFIX.merge.revision`, `PREFIX.head.revision` | the commit of a pull request that `revision` does not name |
//! | `PREFIX.run.url` | the CI run, where `run-url = true` |
//!
//! Keys under `org.opencontainers.image.` are annotations too. Where a label of the configuration is empty there is none.
//! The base image's name and digest are added by the build, which finds them out. A forge is not asked.
//! Source: image-spec v1.1, annotations.md, "Pre-Defined Annotation Keys".

use std::collections::BTreeMap;

use jiff::Timestamp;
use oci::{Annotations, annotations};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::description::Described;
use super::naming::Naming;
use super::template::{Nothing, Template};
use super::value::Place;
use crate::configuration::{Created, PullRequestSha};
use crate::event::Kind;

/// Where a label came from, or why it is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedLabel {
    /// The key.
    pub key: String,
    /// The value, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What said so: `[identity.labels]`, `event`, `README.md`.
    pub source: String,
    /// Why that source gave nothing, where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
}

/// The keys that registries show.
const STANDARD: &str = "org.opencontainers.image.";

/// Labels and annotations as they were gathered.
#[derive(Default)]
pub(super) struct Labels {
    pub(super) labels: Annotations,
    pub(super) annotations: Annotations,
    pub(super) explained: Vec<ExplainedLabel>,
}

/// Values by key with their source; an empty value says that there shall be none.
#[derive(Default)]
struct Offers {
    taken: BTreeMap<String, (String, String)>,
    dropped: Vec<ExplainedLabel>,
}

impl Offers {
    /// Takes a value where the key has none yet.
    fn offer(&mut self, key: &str, value: Option<&str>, source: &str) {
        if let Some(value) = value.filter(|value| !value.is_empty() && !self.taken.contains_key(key)) {
            self.taken.insert(key.to_owned(), (value.to_owned(), source.to_owned()));
        }
    }

    fn described(&mut self, key: &str, described: Option<&Described>) {
        if let Some(described) = described {
            self.offer(key, Some(&described.value), &described.file);
        }
    }

    fn drop(&mut self, key: &str, source: &str, reason: String) {
        let (key, source) = (key.to_owned(), source.to_owned());
        self.dropped.push(ExplainedLabel { key, value: None, source, dropped: Some(reason) });
    }

    /// Takes what a table of the configuration says.
    fn configured(&mut self, naming: &Naming<'_>, table: &BTreeMap<String, Template>, source: &str) {
        for (key, template) in table {
            if template.as_str().is_empty() {
                self.taken.insert(key.clone(), (String::new(), source.to_owned()));
                self.drop(key, source, "it is empty there, so there is none".to_owned());
                continue;
            }
            match template.render(usize::MAX, |field| naming.value(field, Place::Label)) {
                Ok(value) => self.offer(key, Some(&value), source),
                Err(Nothing(reason)) => self.drop(key, source, reason),
            }
        }
    }

    fn into_parts(self) -> (Annotations, Vec<ExplainedLabel>) {
        let mut values = Annotations::new();
        let mut explained = self.dropped;
        for (key, (value, source)) in self.taken.into_iter().filter(|(_, (value, _))| !value.is_empty()) {
            let shown =
                ExplainedLabel { key: key.clone(), value: Some(value.clone()), source, dropped: None };
            explained.push(shown);
            values.insert(key, value);
        }
        explained.sort_by(|one, two| one.key.cmp(&two.key));
        (values, explained)
    }
}

impl Naming<'_> {
    /// Returns labels and annotations: what the configuration says before what event, commit and
    /// files of the checkout say.
    pub(super) fn labels(&self, version: &str) -> Labels {
        let mut offers = Offers::default();
        offers.configured(self, &self.rules.labels.templates, "[identity.labels]");
        self.offer_standard(&mut offers, version);
        self.offer_own(&mut offers);
        let (labels, mut explained) = offers.into_parts();
        let mut offers = Offers::default();
        offers.configured(self, &self.rules.annotations.templates, "[identity.annotations]");
        let is_annotated = |key: &str| offers.taken.contains_key(key);
        let repeated: Annotations = labels
            .iter()
            .filter(|(key, _)| key.starts_with(STANDARD) && !is_annotated(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let (mut annotations, mut of_annotations) = offers.into_parts();
        annotations.extend(repeated);
        explained.append(&mut of_annotations);
        Labels { labels, annotations, explained }
    }

    fn offer_standard(&self, offers: &mut Offers, version: &str) {
        let (subject, event) = (self.subject, self.subject.event);
        let (source, described) = (&event.source, subject.description);
        // Without a CI run, the address is that of the remote.
        let address = if event.run.is_some() { "event" } else { "git remote" };
        offers.described(annotations::TITLE, described.title.as_ref());
        offers.offer(annotations::TITLE, Some(subject.service), "name of the service");
        offers.offer(annotations::DESCRIPTION, source.description.as_deref(), "event");
        offers.described(annotations::DESCRIPTION, described.description.as_ref());
        offers.offer(annotations::LICENSES, source.licenses.as_deref(), "event");
        offers.described(annotations::LICENSES, described.licenses.as_ref());
        offers.described(annotations::AUTHORS, described.authors.as_ref());
        offers.described(annotations::DOCUMENTATION, described.documentation.as_ref());
        offers.offer(annotations::URL, source.url.as_deref(), address);
        offers.described(annotations::URL, described.url.as_ref());
        offers.offer(annotations::SOURCE, source.url.as_deref(), address);
        let of_version = if self.version.is_some() { "git tag" } else { "first tag" };
        let of_version = if self.tags.is_empty() { "commit" } else { of_version };
        offers.offer(annotations::VERSION, Some(version), of_version);
        offers.offer(annotations::REVISION, Some(self.revision.as_str()), "commit");
        let (created, of_created) = self.created();
        offers.offer(annotations::CREATED, Some(&created.to_string()), of_created);
    }

    /// Offers the keys of this project's own.
    fn offer_own(&self, offers: &mut Offers) {
        let event = self.subject.event;
        let prefix = match &self.rules.label_prefix {
            Some(prefix) => prefix.clone(),
            None => default_prefix(self.subject.project),
        };
        if prefix.is_empty() {
            return;
        }
        let mut offer = |key: &str, value: Option<String>, source: &str| {
            offers.offer(&format!("{prefix}.{key}"), value.as_deref(), source);
        };
        let feature = event.branch().filter(|branch| event.default_branch.as_deref() != Some(branch));
        let feature = feature.filter(|_| !event.is_default_branch());
        offer("feature.branch", feature.map(str::to_owned), "event");
        offer("pull.request", event.pull_request().map(|number| number.to_string()), "event");
        if let Kind::PullRequest(pull_request) = &event.kind {
            let (key, other) = match self.rules.pr_sha {
                PullRequestSha::Head => ("merge.revision", &pull_request.merge_sha),
                PullRequestSha::Merge => ("head.revision", &pull_request.head_sha),
            };
            offer(key, other.as_ref().map(ToString::to_string), "event");
        }
        if self.rules.run_url {
            offer("run.url", event.run.as_ref().and_then(|run| run.url.clone()), "event");
        }
    }

    /// Returns the image's time, in whole seconds as tar headers and other tools have it, and what
    /// said so.
    fn created(&self) -> (Timestamp, &'static str) {
        let subject = self.subject;
        let (time, source) = match (subject.source_date_epoch, self.rules.created) {
            (Some(epoch), _) => (epoch, "SOURCE_DATE_EPOCH"),
            (None, Created::Commit) => (subject.event.committed, "commit"),
            (None, Created::Now) => (subject.now, "created = \"now\""),
            (None, Created::Epoch) => (Timestamp::UNIX_EPOCH, "created = \"epoch\""),
        };
        (Timestamp::from_second(time.as_second()).expect("a timestamp's own second is in range"), source)
    }
}

/// Returns `acme.shop` for `Acme/Shop`: keys of labels are dotted names in small letters.
fn default_prefix(project: &str) -> String {
    let parts = project.split('/').map(super::slug).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(".")
}
