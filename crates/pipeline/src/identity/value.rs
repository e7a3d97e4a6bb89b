//! What the fields of a template stand for.

use jiff::Timestamp;
use serde_json::Value;

use super::naming::Naming;
use super::template::{self, Field, Nothing};
use crate::configuration::Created;
use crate::event::{GitRef, Kind};

/// Longest value of `{event:...}`, in bytes.
const MAX_EVENT_VALUE: usize = 32 * 1024;

/// Where a field's value goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Into a tag.
    Tag,
    /// Into a label or an annotation.
    Label,
}

impl Naming<'_> {
    /// Returns the value of a field; an empty one is none.
    pub(super) fn value(&self, field: &Field, place: Place) -> Result<String, Nothing> {
        let event = self.subject.event;
        let off = |what: &str| Nothing(format!("{{{field}}} is empty: {} {what}", event.kind));
        let or_off = |value: Option<&str>, what: &str| value.map(str::to_owned).ok_or_else(|| off(what));
        match field {
            Field::PullRequest => {
                event.pull_request().map(|n| n.to_string()).ok_or_else(|| off("has no number"))
            }
            Field::Sha => Ok(self.revision.short(self.rules.short_sha).to_owned()),
            Field::LongSha => Ok(self.revision.to_string()),
            Field::Branch => or_off(self.branch(), "has no branch of this repository"),
            Field::Tag => or_off(self.tag(), "has no git tag"),
            Field::Version | Field::Major | Field::Minor | Field::Patch | Field::Group(_) => {
                self.of_version(field, place)
            }
            Field::Event(path) => self.event_field(path).map_err(|reason| off(&reason)),
            Field::Date(format) => template::format_date(format, self.date()).map_err(Nothing),
            Field::Service => Ok(self.subject.service.to_owned()),
            Field::Run => or_off(event.run.as_ref().map(|run| run.id.as_str()), "has no CI run"),
            Field::Default => or_off(event.default_branch.as_deref(), "does not say the default branch"),
            Field::Image => Err(Nothing("{image} is for cache locations".to_owned())),
        }
    }

    fn branch(&self) -> Option<&str> {
        match &self.subject.event.kind {
            Kind::Delete { on: GitRef::Branch(branch) } => Some(branch),
            _ => self.subject.event.branch(),
        }
    }

    fn tag(&self) -> Option<&str> {
        match &self.subject.event.kind {
            Kind::Delete { on: GitRef::Tag(tag) } => Some(tag),
            _ => self.seen_tag,
        }
    }

    fn of_version(&self, field: &Field, place: Place) -> Result<String, Nothing> {
        let Some(version) = &self.version else {
            let kind = &self.subject.event.kind;
            return Err(Nothing(format!(
                "{{{field}}} is empty: {kind} has no version; it needs a tag:... rule with parse = \"semver\", pep440, calver or a regular expression"
            )));
        };
        Ok(match field {
            Field::Version if place == Place::Tag => version.in_tag(),
            Field::Version => version.text().to_owned(),
            Field::Major => version.number(0).to_owned(),
            Field::Minor => version.number(1).to_owned(),
            Field::Patch => version.number(2).to_owned(),
            Field::Group(name) => version.group(name).to_owned(),
            _ => String::new(),
        })
    }

    fn event_field(&self, path: &str) -> Result<String, String> {
        let mut names = path.split('.');
        let first = names.next().and_then(|name| self.subject.event.fields.get(name));
        let found = names.try_fold(first, |value, name| match value {
            Some(Value::Object(fields)) => Some(fields.get(name)),
            Some(Value::Array(elements)) => Some(name.parse::<usize>().ok().and_then(|at| elements.get(at))),
            _ => None,
        });
        let text = match found.flatten() {
            None | Some(Value::Null) => return Err("does not tell it".to_owned()),
            Some(Value::Object(_) | Value::Array(_)) => {
                return Err("has more than one value there".to_owned());
            }
            Some(Value::String(text)) => text.clone(),
            Some(scalar) => scalar.to_string(),
        };
        match text.len() {
            0 => Err("has nothing there".to_owned()),
            length if length > MAX_EVENT_VALUE => Err(format!("has {length} bytes there, which is too much")),
            _ => Ok(text),
        }
    }

    /// Returns the time that `{date:...}` gives: a nightly build is of its night, not of its commit.
    fn date(&self) -> Timestamp {
        let subject = self.subject;
        let is_scheduled = matches!(subject.event.kind, Kind::Schedule { .. });
        if is_scheduled || self.rules.created == Created::Now {
            subject.source_date_epoch.unwrap_or(subject.now)
        } else {
            subject.event.committed
        }
    }
}
