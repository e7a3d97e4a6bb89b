//! What an image is called and labelled, computed from the event and the rules of `[identity]`.
//!
//! [`identify`] is pure: every tag it gives is one the distribution grammar allows, and every tag
//! it does not give is explained. Rules are tried in order, and the first one for the event wins;
//! a rule with `parse = "semver"` is none for a git tag that is no version.
//!
//! | about | rule |
//! |---|---|
//! | empty field, tag that the grammar forbids | the tag is left out and says why |
//! | `{date:...}` | of the commit, or of now where `created = "now"` or the event is a schedule |
//! | pre-release | gets its `{version}`, and no `{major}`, no `{major}.{minor}`, no `latest` |
//! | back-port, `1.2.9` after `1.3.0` | `1.2` moves; `1` and `latest` stay with the higher version |
//! | `+build` of a version | `_build` in tags, as it is in the label |
//!
//! The names are this project's own; docker/metadata-action's inputs get an engine beside this one.

pub mod glob;
mod labels;
mod on;
mod series;
mod slug;
pub mod template;

use jiff::Timestamp;
use oci::{Annotations, Tag};
use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::configuration::{Created, IdentityRules, Latest, Parse, PullRequestSha, TagRule};
use crate::event::{CommitId, Event, Kind};
use template::{Field, Nothing, Template};

pub use glob::Glob;
pub use on::On;
pub use slug::slug;

/// What an image of one service is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The commit its label `revision` names.
    pub revision: CommitId,
    /// The version for people: of the git tag, or else the first tag, or else the short commit.
    pub version: String,
    /// Tags, in the order of the rule, none twice. May be empty: the digest is the name that counts.
    pub tags: Vec<PlannedTag>,
    /// Labels, ordered by key.
    pub labels: Annotations,
    /// What became of every template of the rule, in order.
    pub explained: Vec<Explained>,
}

/// A tag the image shall get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTag {
    /// The tag.
    pub tag: Tag,
    /// Whether it may point elsewhere later.
    pub movement: Movement,
}

/// Whether a tag may point elsewhere later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Movement {
    /// It refuses to move: the configuration lists it under `immutable`.
    Immutable,
    /// It carries the commit, so that only another build of that commit takes it.
    Commit,
    /// It follows a branch, a pull request, a series of versions: it moves last.
    Moving,
}

/// What became of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// The template as configured, or `latest`, or the key of a label.
    pub template: String,
    /// The rule's `on`, or the setting it came from.
    pub rule: String,
    /// What it gave, where it gave something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub tag: Option<Tag>,
    /// Why it was left out, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
}

/// What the rules are applied to.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What happened.
    pub event: &'a Event,
    /// The service, as `{service}` gives it.
    pub service: &'a str,
    /// Now; used where the rules ask for it only.
    pub now: Timestamp,
    /// The git tags there are; the event's own may be among them.
    pub existing_tags: &'a [String],
}

/// Applies `rules` to `subject`.
pub fn identify(rules: &IdentityRules, subject: &Subject<'_>) -> Identity {
    let revision = revision(rules, subject.event);
    let mut naming = Naming {
        rules,
        subject,
        revision: &revision,
        version: None,
        tags: Vec::new(),
        explained: Vec::new(),
    };
    naming.apply_rules();
    let version = naming.version_text();
    let labels = naming.labels(&version);
    let Naming { tags, explained, .. } = naming;
    Identity { version, tags, labels, explained, revision }
}

/// Returns the commit that the rules name an event's images after.
pub fn revision(rules: &IdentityRules, event: &Event) -> CommitId {
    match (&event.kind, rules.pr_sha) {
        (Kind::PullRequest(pull_request), PullRequestSha::Merge) => pull_request.merge_sha.clone(),
        (Kind::PullRequest(pull_request), PullRequestSha::Head) => pull_request.head_sha.clone(),
        _ => None,
    }
    .unwrap_or_else(|| event.revision.clone())
}

/// One application of the rules, while it is going on.
struct Naming<'a> {
    rules: &'a IdentityRules,
    subject: &'a Subject<'a>,
    revision: &'a CommitId,
    version: Option<Version>,
    tags: Vec<PlannedTag>,
    explained: Vec<Explained>,
}

impl Naming<'_> {
    fn apply_rules(&mut self) {
        let rules = self.rules;
        match rules.tag.iter().find(|rule| self.is_for(rule)) {
            Some(rule) => {
                rule.tags.iter().for_each(|template| self.apply(rule, template));
                self.apply_latest(rule);
            }
            None => {
                let dropped = format!("no [[identity.tag]] is for {}", self.subject.event.kind);
                self.explain("", "identity.tag", None, Some(dropped));
                self.apply_latest_of_branch();
            }
        }
    }

    /// Whether `rule` is for the event; sets the version where the rule reads one.
    fn is_for(&mut self, rule: &TagRule) -> bool {
        if !rule.on.iter().any(|on| on.matches(self.subject.event)) {
            return false;
        }
        if rule.parse == Some(Parse::Semver) {
            let tag = self.subject.event.tag().unwrap_or_default();
            self.version = series::parse(tag);
            if self.version.is_none() {
                let dropped =
                    format!("{tag:?} is not a semantic version such as v1.2.3; the next rule is tried");
                self.explain("", &rule.name(), None, Some(dropped));
                return false;
            }
        }
        true
    }

    fn apply(&mut self, rule: &TagRule, template: &Template) {
        let movement = if rule.immutable.contains(template) {
            Movement::Immutable
        } else if template.fields().any(|field| matches!(field, Field::Sha | Field::LongSha)) {
            Movement::Commit
        } else {
            Movement::Moving
        };
        let outcome =
            self.stays(rule, template).map_or_else(|| self.render(template), |reason| Err(Nothing(reason)));
        match outcome {
            Ok(tag) => self.add(template.as_str(), &rule.name(), tag, movement),
            Err(Nothing(reason)) => self.explain(template.as_str(), &rule.name(), None, Some(reason)),
        }
    }

    fn render(&self, template: &Template) -> Result<Tag, Nothing> {
        let text = template.render(self.rules.max_length, |field| self.value(field, Place::Tag))?;
        text.parse().map_err(|error: oci::InvalidTag| Nothing(error.to_string()))
    }

    /// Returns why a tag of a series of versions stays where it is, if it does.
    fn stays(&self, rule: &TagRule, template: &Template) -> Option<String> {
        let version = self.version.as_ref()?;
        let series = series::Series::of(template)?;
        series.stays(version, self.released(rule))
    }

    /// Returns the versions of the existing git tags that `rule` is for.
    fn released<'b>(&'b self, rule: &'b TagRule) -> impl Iterator<Item = Version> + 'b {
        let is_for = |tag: &str| rule.on.iter().any(|on| matches!(on, On::Tag(glob) if glob.matches(tag)));
        let tags = self.subject.existing_tags.iter().filter(move |tag| is_for(tag));
        tags.filter_map(|tag| series::parse(tag))
    }

    fn apply_latest(&mut self, rule: &TagRule) {
        let setting = match self.rules.latest {
            Latest::Never => return,
            Latest::DefaultBranch => return self.apply_latest_of_branch(),
            Latest::HighestSemver => "latest = \"highest-semver\"",
            Latest::Auto => "latest = \"auto\"",
        };
        let stays = match (&self.version, self.rules.latest) {
            (Some(version), Latest::HighestSemver) => series::Series::ALL.stays(version, self.released(rule)),
            (Some(version), _) => series::Series::ALL.stays(version, []),
            (None, Latest::Auto) if self.subject.event.tag().is_some() => None,
            (None, _) => return,
        };
        match stays {
            None => self.add("latest", setting, Tag::latest(), Movement::Moving),
            Some(reason) => self.explain("latest", setting, None, Some(reason)),
        }
    }

    fn apply_latest_of_branch(&mut self) {
        if self.rules.latest == Latest::DefaultBranch && self.subject.event.is_default_branch() {
            self.add("latest", "latest = \"default-branch\"", Tag::latest(), Movement::Moving);
        }
    }

    fn add(&mut self, template: &str, rule: &str, tag: Tag, movement: Movement) {
        if self.tags.iter().any(|planned| planned.tag == tag) {
            return self.explain(template, rule, None, Some(format!("{tag} is there already")));
        }
        self.explain(template, rule, Some(tag.clone()), None);
        self.tags.push(PlannedTag { tag, movement });
    }

    fn explain(&mut self, template: &str, rule: &str, tag: Option<Tag>, dropped: Option<String>) {
        self.explained.push(Explained { template: template.to_owned(), rule: rule.to_owned(), tag, dropped });
    }

    fn version_text(&self) -> String {
        let first = || self.tags.first().map(|planned| planned.tag.to_string());
        let version = self.version.as_ref().map(Version::to_string).or_else(first);
        version.unwrap_or_else(|| self.revision.short(self.rules.short_sha).to_owned())
    }

    fn value(&self, field: &Field, place: Place) -> Result<String, Nothing> {
        let event = self.subject.event;
        let off = |what: &str| Nothing(format!("{{{field}}} is empty: {} {what}", event.kind));
        let number = |pick: fn(&Version) -> u64| match &self.version {
            Some(version) => Ok(pick(version).to_string()),
            None => Err(off("has no version; it needs a tag:... rule with parse = \"semver\"")),
        };
        match field {
            Field::PullRequest => {
                event.pull_request().map(|n| n.to_string()).ok_or_else(|| off("has no number"))
            }
            Field::Sha => Ok(self.revision.short(self.rules.short_sha).to_owned()),
            Field::LongSha => Ok(self.revision.to_string()),
            Field::Branch => {
                event.branch().map(str::to_owned).ok_or_else(|| off("has no branch of this repository"))
            }
            Field::Tag => event.tag().map(str::to_owned).ok_or_else(|| off("has no git tag")),
            Field::Version => match &self.version {
                Some(version) if place == Place::Tag => Ok(version.to_string().replace('+', "_")),
                Some(version) => Ok(version.to_string()),
                None => number(|version| version.major),
            },
            Field::Major => number(|version| version.major),
            Field::Minor => number(|version| version.minor),
            Field::Patch => number(|version| version.patch),
            Field::Date(format) => template::format_date(format, self.date()).map_err(Nothing),
            Field::Service => Ok(self.subject.service.to_owned()),
            Field::Run => event.run.as_ref().map(|run| run.id.clone()).ok_or_else(|| off("has no CI run")),
            Field::Default => {
                event.default_branch.clone().ok_or_else(|| off("does not say the default branch"))
            }
            Field::Image => Err(Nothing("{image} is for cache locations".to_owned())),
        }
    }

    /// Returns the time that `{date:...}` gives: a nightly build is of its night, not of its commit.
    fn date(&self) -> Timestamp {
        let is_scheduled = matches!(self.subject.event.kind, Kind::Schedule { .. });
        if is_scheduled || self.rules.created == Created::Now {
            self.subject.now
        } else {
            self.subject.event.committed
        }
    }
}

/// Where a field's value goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Tag,
    Label,
}

#[cfg(test)]
mod tests;
