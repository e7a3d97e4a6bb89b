//! One application of the rules to an event: which rule names the image, and what its templates give.

use std::cell::OnceCell;

use oci::Tag;

use super::component::GitTag;
use super::series::Series;
use super::template::{Nothing, Template};
use super::value::Place;
use super::version::Version;
use super::{Explained, Movement, On, PlannedTag, RegistryTags, Subject};
use crate::configuration::{IdentityRules, Latest, Scheme, TagRule};
use crate::event::{CommitId, Kind};

/// Longest tag that Kubernetes takes as the value of a label.
const LABEL_VALUE: usize = 63;

/// One application of the rules, while it is going on.
pub(super) struct Naming<'a> {
    pub(super) rules: &'a IdentityRules,
    pub(super) subject: &'a Subject<'a>,
    pub(super) revision: &'a CommitId,
    /// The git tag, and as the rule in use sees it.
    pub(super) git_tag: Option<GitTag<'a>>,
    pub(super) seen_tag: Option<&'a str>,
    pub(super) version: Option<Version>,
    pub(super) tags: Vec<PlannedTag>,
    pub(super) explained: Vec<Explained>,
    /// The one other service that the git tag releases.
    released: Option<&'a str>,
    /// Versions that the rule in use compares the event's with.
    rivals: OnceCell<Vec<Version>>,
}

impl<'a> Naming<'a> {
    pub(super) fn new(rules: &'a IdentityRules, subject: &'a Subject<'a>, revision: &'a CommitId) -> Self {
        let tag = subject.event.tag();
        let component = tag.and_then(|tag| subject.components.released_by(tag));
        let own = component.filter(|(service, _)| *service == subject.service).map(|(_, own)| own);
        let git_tag = tag.map(|full| GitTag { full, own: own.unwrap_or(full) });
        Self {
            rules,
            subject,
            revision,
            git_tag,
            seen_tag: git_tag.map(|tag| tag.own),
            version: None,
            tags: Vec::new(),
            explained: Vec::new(),
            rivals: OnceCell::new(),
            released: component.map(|(service, _)| service).filter(|service| *service != subject.service),
        }
    }

    pub(super) fn apply_rules(&mut self) {
        if let Some(other) = self.released {
            let tag = self.subject.event.tag().unwrap_or_default();
            return self.drop_rule("identity.tag", format!("git tag {tag:?} releases {other} alone"));
        }
        let rules = self.rules;
        let Some(at) = rules.tag.iter().position(|rule| self.is_for(rule)) else {
            let dropped = format!("no [[identity.tag]] is for {}", self.subject.event.kind);
            self.drop_rule("identity.tag", dropped);
            return self.apply_latest_of_branch();
        };
        let rule = &rules.tag[at];
        rule.tags.iter().for_each(|template| self.apply(rule, template));
        self.apply_latest(rule);
        let unused: Vec<String> =
            rules.tag[at + 1..].iter().filter(|later| self.is_on(later)).map(TagRule::name).collect();
        for later in unused {
            self.drop_rule(&later, format!("the rule {} comes first and names the image", rule.name()));
        }
    }

    fn is_on(&self, rule: &TagRule) -> bool {
        let own = self.git_tag.map(|tag| tag.own);
        rule.on.iter().any(|on| on.matches(self.subject.event, own))
    }

    /// Whether `rule` is for the event; sets the version where the rule reads one.
    fn is_for(&mut self, rule: &TagRule) -> bool {
        if !self.is_on(rule) {
            return false;
        }
        self.seen_tag = self.git_tag.map(|tag| tag.seen_by(&rule.on).unwrap_or(tag.own));
        let Some(parse) = &rule.parse else { return true };
        let Some(seen) = self.seen_tag else {
            let dropped = format!("{} has no git tag to read a version from", self.subject.event.kind);
            self.drop_rule(&rule.name(), format!("{dropped}; the next rule is tried"));
            return false;
        };
        let own = self.git_tag.map_or(seen, |tag| tag.own);
        match Version::of_tag(seen, parse).or_else(|reason| Version::of_tag(own, parse).map_err(|_| reason)) {
            Ok(version) => self.version = Some(version),
            Err(reason) => self.drop_rule(&rule.name(), format!("{reason}; the next rule is tried")),
        }
        self.version.is_some()
    }

    fn apply(&mut self, rule: &TagRule, template: &Template) {
        let movement = if rule.immutable.contains(template) {
            Movement::Immutable
        } else if template.carries_commit() {
            Movement::Commit
        } else {
            Movement::Moving
        };
        let series = self.version.as_ref().and_then(|_| Series::of(template));
        let stays = series.as_ref().and_then(|series| self.stays(series, rule));
        let outcome = match stays {
            Some(reason) => Err(Nothing(reason)),
            None => self.render(template),
        };
        let note = series.and_then(|_| self.unknown_rivals());
        match outcome {
            Ok(tag) => self.add(template.as_str(), &rule.name(), PlannedTag { tag, movement }, note),
            Err(Nothing(reason)) => self.explain(template.as_str(), &rule.name(), None, Some(reason)),
        }
    }

    fn render(&self, template: &Template) -> Result<Tag, Nothing> {
        let text = template.render(self.rules.max_length, |field| self.value(field, Place::Tag))?;
        let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let ends_well = alphanumeric(text.chars().next()) && alphanumeric(text.chars().next_back());
        let tag = text.parse().map_err(|error: oci::InvalidTag| Nothing(error.to_string()))?;
        if self.rules.max_length <= LABEL_VALUE && !ends_well {
            let reason = "values of Kubernetes labels start and end with a letter or a digit";
            return Err(Nothing(format!("max-length is {}, and {reason}", self.rules.max_length)));
        }
        Ok(tag)
    }

    /// Returns why a tag of a series of versions stays where it is, if it does.
    fn stays(&self, series: &Series, rule: &TagRule) -> Option<String> {
        let version = self.version.as_ref()?;
        if let Some(reason) = self.is_called_prerelease(version) {
            return Some(reason);
        }
        let rivals = self.rivals.get_or_init(|| self.released(rule).chain(self.in_registry(rule)).collect());
        series.stays(version, rivals)
    }

    /// Returns what to say where the forge's release is a pre-release, whatever its tag looks like.
    fn is_called_prerelease(&self, version: &Version) -> Option<String> {
        let is_one = matches!(self.subject.event.kind, Kind::Release { prerelease: true, .. });
        let text = version.text();
        is_one.then(|| format!("the forge calls {text} a pre-release, and this stays with releases"))
    }

    /// Returns the versions of the existing git tags that `rule` is for: of a service's own tags
    /// where the event's is one, else of the project's.
    fn released<'b>(&'b self, rule: &'b TagRule) -> impl Iterator<Item = Version> + 'b {
        let subject = self.subject;
        let is_component = self.git_tag.is_some_and(|tag| tag.own != tag.full);
        subject.existing_tags.iter().filter_map(move |full| {
            let own = match (subject.components.released_by(full), is_component) {
                (None, false) => full,
                (Some((service, own)), true) if service == subject.service => own,
                _ => return None,
            };
            let seen = if is_event_of_tags(rule) { GitTag { full, own }.seen_by(&rule.on)? } else { own };
            let parse = rule.parse.as_ref()?;
            Version::of_tag(seen, parse).or_else(|_| Version::of_tag(own, parse)).ok()
        })
    }

    /// Returns the versions that tags of the registry name, as templates of `rule` have them.
    fn in_registry<'b>(&'b self, rule: &'b TagRule) -> impl Iterator<Item = Version> + 'b {
        let tags = match self.subject.registry_tags {
            RegistryTags::Known(tags) => tags.as_slice(),
            _ => &[],
        };
        let scheme = rule.parse.as_ref().and_then(|parse| parse.scheme).unwrap_or(Scheme::Semver);
        tags.iter().filter_map(move |tag| {
            let tag = tag.as_str();
            let texts = rule.tags.iter().filter_map(|template| template.version_in(tag));
            texts.chain([tag]).find_map(|text| Version::of_registry_tag(text, scheme))
        })
    }

    /// Returns what should be known of a tag that moves though nobody could look for higher versions.
    fn unknown_rivals(&self) -> Option<String> {
        match self.subject.registry_tags {
            RegistryTags::Unknown { reason } => Some(format!("higher versions are not known: {reason}")),
            _ => None,
        }
    }

    fn apply_latest(&mut self, rule: &TagRule) {
        let setting = match self.rules.latest {
            Latest::Never => return,
            Latest::DefaultBranch => return self.apply_latest_of_branch(),
            Latest::HighestSemver => "latest = \"highest-semver\"",
            Latest::Auto => "latest = \"auto\"",
        };
        let stays = match (&self.version, self.rules.latest) {
            (Some(_), Latest::HighestSemver) => self.stays(&Series::ALL, rule),
            (Some(version), _) => {
                self.is_called_prerelease(version).or_else(|| Series::ALL.stays_alone(version))
            }
            (None, Latest::Auto) if self.subject.event.tag().is_some() => None,
            (None, _) => return,
        };
        let note = (self.rules.latest == Latest::HighestSemver).then(|| self.unknown_rivals()).flatten();
        match stays {
            None => self.add_latest(setting, note),
            Some(reason) => self.explain("latest", setting, None, Some(reason)),
        }
    }

    fn apply_latest_of_branch(&mut self) {
        if self.rules.latest == Latest::DefaultBranch && self.subject.event.is_default_branch() {
            self.add_latest("latest = \"default-branch\"", None);
        }
    }

    fn add_latest(&mut self, setting: &str, note: Option<String>) {
        let latest = PlannedTag { tag: Tag::latest(), movement: Movement::Moving };
        self.add("latest", setting, latest, note);
    }

    fn add(&mut self, template: &str, rule: &str, planned: PlannedTag, note: Option<String>) {
        let first = self.explained.iter().find(|explained| explained.tag.as_ref() == Some(&planned.tag));
        if let Some(first) = first {
            let reason = format!("{} is there already, from {}", planned.tag, first.template);
            return self.explain(template, rule, None, Some(reason));
        }
        self.explain(template, rule, Some(&planned), None);
        if let Some(last) = self.explained.last_mut() {
            last.note = note;
        }
        self.tags.push(planned);
    }

    fn explain(&mut self, template: &str, rule: &str, planned: Option<&PlannedTag>, dropped: Option<String>) {
        self.explained.push(Explained {
            template: template.to_owned(),
            rule: rule.to_owned(),
            tag: planned.map(|planned| planned.tag.clone()),
            movement: planned.map(|planned| planned.movement),
            dropped,
            note: None,
        });
    }

    fn drop_rule(&mut self, rule: &str, reason: String) {
        self.explain("", rule, None, Some(reason));
    }

    pub(super) fn version_text(&self) -> String {
        let first = || self.tags.first().map(|planned| planned.tag.to_string());
        let version = self.version.as_ref().map(|version| version.text().to_owned()).or_else(first);
        version.unwrap_or_else(|| self.revision.short(self.rules.short_sha).to_owned())
    }
}

/// Whether a rule says which git tags it is for.
fn is_event_of_tags(rule: &TagRule) -> bool {
    rule.on.iter().any(|on| matches!(on, On::Tag(_)))
}
