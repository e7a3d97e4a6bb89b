//! Entries of `tags` to the versions of an image, which its tags are.
//!
//! Entries are applied in the order of their priority. The first one that gives something names the
//! version and decides about `latest`, unless the flavor does.

use super::engine::Engine;
use super::entry::{Flavor, TagEntry, Type};
use super::error::MetadataError;
use super::expression::Template;
use super::global::{self, Global};
use super::semantic::{Pep440, Semver};
use super::{Context, ShortSha};

/// What the entries gave, as the neighbour has it: anything but empty text.
#[derive(Debug, Default)]
pub(super) struct Versions {
    pub(super) main: Option<String>,
    pub(super) partial: Vec<String>,
    pub(super) is_latest: Option<bool>,
    pub(super) warnings: Vec<String>,
}

/// Applies entries, in order, to an event.
pub(super) struct Applying<'a> {
    pub(super) engine: &'a Engine,
    pub(super) context: &'a Context,
    pub(super) global: &'a Global<'a>,
    pub(super) flavor: &'a Flavor,
    pub(super) versions: Versions,
}

impl Applying<'_> {
    /// Applies one entry.
    pub(super) fn apply(&mut self, tag: &TagEntry) -> Result<(), MetadataError> {
        match self.expression(tag.attributes.text("enable"))?.as_str() {
            "true" => {}
            "false" => return Ok(()),
            other => return Err(MetadataError::Enable { value: other.to_owned() }),
        }
        let context = self.context;
        match tag.kind {
            Type::Schedule => self.schedule(tag),
            Type::Semver => self.semver(tag),
            Type::Pep440 => self.pep440(tag),
            Type::Match => self.matched(tag),
            Type::Edge => {
                let edge = match tag.attributes.text("branch") {
                    "" => context.repository.default_branch.as_deref(),
                    branch => Some(branch),
                };
                let is_edge = context.branch().is_some() && context.branch() == edge;
                if is_edge { self.add(tag, "edge", false) } else { Ok(()) }
            }
            Type::RefBranch => self.add_some(tag, context.branch(), false),
            Type::RefTag => self.add_some(tag, context.tag(), true),
            Type::RefPullRequest => {
                let of_pull = context.reference.strip_prefix("refs/pull/");
                self.add_some(tag, of_pull.map(|rest| rest.strip_suffix("/merge").unwrap_or(rest)), false)
            }
            Type::Raw => {
                let value = self.expression(tag.attributes.text("value"))?;
                self.add(tag, &value, false)
            }
            Type::Sha => self.sha(tag),
        }
    }

    fn schedule(&mut self, tag: &TagEntry) -> Result<(), MetadataError> {
        if !self.context.event_name.contains("schedule") {
            return Ok(());
        }
        let dates = Global { is_dates_only: true, ..*self.global };
        let value = self.engine.render(tag.attributes.text("pattern"), &dates)?;
        self.add(tag, &value, false)
    }

    fn semver(&mut self, tag: &TagEntry) -> Result<(), MetadataError> {
        let Some(text) = self.version_text(tag)? else { return Ok(()) };
        let Some(version) = Semver::parse(&text) else {
            self.warn(format!("{text} is not a valid semver. More info: https://semver.org/"));
            return Ok(());
        };
        let pattern = tag.attributes.text("pattern");
        let is_release = !version.is_prerelease();
        let pattern = if is_release || Template::is_just(pattern, "raw") { pattern } else { "{{version}}" };
        let value = self.engine.render(pattern, &version)?;
        self.add(tag, &value, is_release)
    }

    fn pep440(&mut self, tag: &TagEntry) -> Result<(), MetadataError> {
        let Some(text) = self.version_text(tag)? else { return Ok(()) };
        let Some(version) = Pep440::parse(&text) else {
            let more = "More info: https://www.python.org/dev/peps/pep-0440";
            self.warn(format!("{text} does not conform to PEP 440. {more}"));
            return Ok(());
        };
        let pattern = tag.attributes.text("pattern");
        let value = match (version.is_no_release(), Template::is_just(pattern, "raw")) {
            (true, true) => version.raw().to_owned(),
            (true, false) => version.clean(),
            (false, _) => self.engine.render(pattern, &version)?,
        };
        self.add(tag, &value, !version.is_no_release())
    }

    /// Returns what is read as a version: `value`, or the git tag; of it, what `match` takes out.
    fn version_text(&mut self, tag: &TagEntry) -> Result<Option<String>, MetadataError> {
        let text = match (tag.attributes.text("value"), self.context.tag()) {
            ("", None) => return Ok(None),
            ("", Some(tag)) => tag.to_owned(),
            (value, _) => self.expression(value)?,
        };
        let text = match tag.attributes.get("match").filter(|pattern| !pattern.is_empty()) {
            Some(pattern) => self.part(pattern, text)?,
            None => text,
        };
        Ok(Some(text.replace('/', "-")))
    }

    /// Returns group 1 of a version's `match`, and all of `text` where it does not match.
    fn part(&mut self, pattern: &str, text: String) -> Result<String, MetadataError> {
        let Some(groups) = self.engine.find(pattern, &text)? else {
            self.warn(format!("{pattern} does not match {text}."));
            return Ok(text);
        };
        match groups.into_iter().nth(1).flatten() {
            Some(group) => Ok(group),
            None => Err(MetadataError::NoGroup { pattern: pattern.to_owned() }),
        }
    }

    fn matched(&mut self, tag: &TagEntry) -> Result<(), MetadataError> {
        let text = match (tag.attributes.text("value"), self.context.tag()) {
            ("", None) => return Ok(()),
            ("", Some(tag)) => tag.to_owned(),
            (value, _) => self.expression(value)?,
        };
        let (pattern, group) = (tag.attributes.text("pattern"), tag.attributes.text("group"));
        let Some(groups) = self.engine.find(pattern, &text)? else {
            self.warn(format!("{pattern} does not match {text}."));
            return Ok(());
        };
        // The group is a property's name: `1` is there, `1.0` is not.
        let at = group.parse::<usize>().ok().filter(|number| number.to_string() == group);
        let Some(value) = at.and_then(|at| groups.get(at).cloned().flatten()) else {
            self.warn(format!("Group {group} does not exist for {pattern} pattern."));
            return Ok(());
        };
        self.add(tag, &value, true)
    }

    fn sha(&mut self, tag: &TagEntry) -> Result<(), MetadataError> {
        let sha = &self.context.sha;
        if sha.is_empty() {
            return Ok(());
        }
        let length = match tag.attributes.text("format") {
            "long" => ShortSha::Digits(usize::MAX),
            _ => self.context.short_sha,
        };
        let value = global::short(sha, length).map_err(|_| MetadataError::ShortSha)?;
        self.add(tag, value, false)
    }

    fn add_some(
        &mut self,
        tag: &TagEntry,
        value: Option<&str>,
        is_latest: bool,
    ) -> Result<(), MetadataError> {
        value.map_or(Ok(()), |value| self.add(tag, value, is_latest))
    }

    /// Adds a version with its prefix and suffix; `is_latest` holds where the flavor leaves it open.
    fn add(&mut self, tag: &TagEntry, value: &str, is_latest: bool) -> Result<(), MetadataError> {
        let prefix = self.expression(tag.attributes.get("prefix").unwrap_or(&self.flavor.prefix))?;
        let suffix = self.expression(tag.attributes.get("suffix").unwrap_or(&self.flavor.suffix))?;
        let version = sanitise(&format!("{prefix}{value}{suffix}"));
        if version.is_empty() {
            return Ok(());
        }
        let versions = &mut self.versions;
        versions.is_latest.get_or_insert(self.flavor.latest.unwrap_or(is_latest));
        match &versions.main {
            None => versions.main = Some(version),
            Some(main) if *main != version && !versions.partial.contains(&version) => {
                versions.partial.push(version);
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn expression(&self, template: &str) -> Result<String, MetadataError> {
        self.engine.render(template, self.global)
    }

    fn warn(&mut self, warning: String) {
        self.versions.warnings.push(warning);
    }
}

/// Puts one dash for every run of characters that a tag cannot have.
pub(super) fn sanitise(text: &str) -> String {
    let mut tag = String::with_capacity(text.len());
    let mut is_replaced = false;
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-') {
            tag.push(character);
            is_replaced = false;
        } else if !is_replaced {
            tag.push('-');
            is_replaced = true;
        }
    }
    tag
}
