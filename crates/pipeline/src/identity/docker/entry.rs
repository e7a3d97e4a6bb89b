//! Entries of the inputs `tags`, `flavor` and `images`.
//!
//! Source: docker/metadata-action, README, "tags input", "flavor input", "images input".

use super::error::{ListError, MetadataError};
use super::number::{self, trim};
use super::{list, order};

/// What a tag is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Schedule,
    Semver,
    Pep440,
    Match,
    Edge,
    RefBranch,
    RefTag,
    RefPullRequest,
    Raw,
    Sha,
}

/// An entry of `tags`.
#[derive(Clone, Debug)]
pub(super) struct TagEntry {
    pub(super) kind: Type,
    pub(super) attributes: Attributes,
    pub(super) priority: f64,
}

/// Attributes of an entry, by lower-case name.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<(String, String)>);

impl Attributes {
    /// Returns an attribute, where it is there; it may be empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns an attribute, empty where it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    fn set_default(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.set(name, value);
        }
    }
}

/// The entries that hold where `tags` has none.
const DEFAULTS: [&str; 4] =
    ["type=schedule", "type=ref,event=branch", "type=ref,event=tag", "type=ref,event=pr"];

/// Reads the entries of `tags` and puts them in their order.
pub(super) fn tags(entries: &[String]) -> Result<Vec<TagEntry>, MetadataError> {
    let mut tags: Vec<TagEntry> = if entries.is_empty() {
        DEFAULTS.iter().map(|entry| TagEntry::parse(entry)).collect::<Result<_, _>>()?
    } else {
        entries.iter().map(|entry| TagEntry::parse(entry)).collect::<Result<_, _>>()?
    };
    order::by_priority(&mut tags);
    Ok(tags)
}

impl TagEntry {
    fn parse(entry: &str) -> Result<Self, MetadataError> {
        let fields = list::fields(entry)?.ok_or(ListError::Empty)?;
        let mut attributes = Attributes::default();
        let mut name = None;
        for field in &fields {
            match field.split_once('=') {
                None => attributes.set("value", trim(field)),
                Some((key, value)) => match (trim(key).to_lowercase().as_str(), trim(value)) {
                    ("type", value) => {
                        const NAMES: [&str; 8] =
                            ["schedule", "semver", "pep440", "match", "edge", "ref", "raw", "sha"];
                        if !NAMES.contains(&value) {
                            return Err(MetadataError::Type { name: value.to_owned() });
                        }
                        name = Some(value.to_owned());
                    }
                    (key, value) => attributes.set(key, value),
                },
            }
        }
        let kind = complete(name.as_deref().unwrap_or("raw"), &mut attributes, entry)?;
        attributes.set_default("enable", "true");
        let priority = attributes.get("priority").map_or(kind.priority(), number::parse);
        Ok(Self { kind, attributes, priority })
    }
}

/// Sets what an entry of type `name` has where it does not say so.
fn complete(name: &str, attributes: &mut Attributes, entry: &str) -> Result<Type, MetadataError> {
    let missing = |attribute| MetadataError::Missing { attribute, entry: entry.to_owned() };
    let invalid = |attribute| MetadataError::Attribute { attribute, entry: entry.to_owned() };
    Ok(match name {
        "schedule" => {
            attributes.set_default("pattern", "nightly");
            Type::Schedule
        }
        "semver" | "pep440" | "match" => {
            attributes.get("pattern").ok_or_else(|| missing("pattern"))?;
            if name == "match" {
                attributes.set_default("group", "0");
                if number::parse(attributes.text("group")).is_nan() {
                    return Err(invalid("match group"));
                }
            }
            match name {
                "semver" => Type::Semver,
                "pep440" => Type::Pep440,
                _ => Type::Match,
            }
        }
        "edge" => Type::Edge,
        "ref" => match attributes.get("event").ok_or_else(|| missing("event"))? {
            "branch" => Type::RefBranch,
            "tag" => Type::RefTag,
            "pr" => {
                attributes.set_default("prefix", "pr-");
                Type::RefPullRequest
            }
            _ => return Err(invalid("event")),
        },
        "sha" => {
            attributes.set_default("prefix", "sha-");
            attributes.set_default("format", "short");
            if !matches!(attributes.text("format"), "short" | "long") {
                return Err(invalid("format"));
            }
            Type::Sha
        }
        _ => {
            attributes.get("value").ok_or_else(|| missing("value"))?;
            Type::Raw
        }
    })
}

impl Type {
    fn priority(self) -> f64 {
        match self {
            Self::Schedule => 1000.0,
            Self::Semver | Self::Pep440 => 900.0,
            Self::Match => 800.0,
            Self::Edge => 700.0,
            Self::RefBranch | Self::RefTag | Self::RefPullRequest => 600.0,
            Self::Raw => 200.0,
            Self::Sha => 100.0,
        }
    }
}

/// What holds for all tags.
#[derive(Clone, Debug, Default)]
pub(super) struct Flavor {
    /// `Some` where `latest` does not go by the tags.
    pub(super) latest: Option<bool>,
    pub(super) prefix: String,
    pub(super) suffix: String,
    pub(super) is_prefix_on_latest: bool,
    pub(super) is_suffix_on_latest: bool,
}

impl Flavor {
    /// Reads the entries of `flavor`.
    pub(super) fn parse(entries: &[String]) -> Result<Self, MetadataError> {
        let mut flavor = Self::default();
        for entry in entries {
            flavor.add(entry)?;
        }
        Ok(flavor)
    }

    fn add(&mut self, entry: &str) -> Result<(), MetadataError> {
        let invalid = |reason| MetadataError::Flavor { entry: entry.to_owned(), reason };
        let mut last = "";
        for field in list::fields(entry)?.ok_or(ListError::Empty)? {
            let (key, value) = second(&field).ok_or_else(|| invalid("an attribute has no ="))?;
            match (key.to_lowercase().as_str(), value) {
                ("latest", "auto") => self.latest = None,
                ("latest", "true") => self.latest = Some(true),
                ("latest", "false") => self.latest = Some(false),
                ("latest", _) => return Err(invalid("latest is auto, true or false")),
                ("prefix", value) => {
                    value.clone_into(&mut self.prefix);
                    last = "prefix";
                }
                ("suffix", value) => {
                    value.clone_into(&mut self.suffix);
                    last = "suffix";
                }
                ("onlatest", value @ ("true" | "false")) => match last {
                    "prefix" => self.is_prefix_on_latest = value == "true",
                    "suffix" => self.is_suffix_on_latest = value == "true",
                    _ => {}
                },
                ("onlatest", _) => return Err(invalid("onlatest is true or false")),
                _ => return Err(invalid("attributes are latest, prefix, suffix and onlatest")),
            }
        }
        Ok(())
    }
}

/// Returns key and value of a field. Of `a=b=c` the value is `b`: the neighbour splits at every `=`.
fn second(field: &str) -> Option<(&str, &str)> {
    let mut parts = field.split('=');
    Some((trim(parts.next()?), trim(parts.next()?)))
}

/// Reads the entries of `images`; gives the lower-case names of those that are enabled.
pub(super) fn images(entries: &[String]) -> Result<Vec<String>, MetadataError> {
    if let [only] = entries {
        let fields = list::fields(only)?.ok_or(ListError::Empty)?;
        if fields.iter().all(|field| !field.contains('=')) {
            return Ok(fields.iter().map(|name| trim(name).to_lowercase()).collect());
        }
    }
    let mut names = Vec::new();
    for entry in entries {
        names.extend(image(entry)?);
    }
    Ok(names)
}

fn image(entry: &str) -> Result<Option<String>, MetadataError> {
    let invalid = |reason| MetadataError::Image { entry: entry.to_owned(), reason };
    let (mut name, mut is_enabled) = (String::new(), true);
    for field in list::fields(entry)?.ok_or(ListError::Empty)? {
        match second(&field) {
            None => name = trim(&field).to_lowercase(),
            Some((key, value)) => match (key.to_lowercase().as_str(), value) {
                ("name", value) => name = value.to_lowercase(),
                ("enable", "true") => is_enabled = true,
                ("enable", "false") => is_enabled = false,
                ("enable", _) => return Err(invalid("enable is true or false")),
                _ => return Err(invalid("attributes are name and enable")),
            },
        }
    }
    if name.is_empty() {
        return Err(invalid("the name is empty"));
    }
    Ok(is_enabled.then_some(name))
}
