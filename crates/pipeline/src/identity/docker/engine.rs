//! The engine: what it keeps between requests, and the way from inputs to metadata.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use oci::{Repository, Tag};

use super::entry::{self, Flavor, TagEntry};
use super::error::MetadataError;
use super::expression::{Template, World};
use super::global::Global;
use super::metadata::{Image, Metadata, Version};
use super::pattern::Pattern;
use super::version::{Applying, Versions, sanitise};
use super::zone::Zones;
use super::{Context, Inputs, labels};

impl Inputs {
    /// Checks all entries without an event: their form, not what their expressions give.
    ///
    /// # Errors
    /// The first entry that is none.
    pub fn check(&self) -> Result<(), MetadataError> {
        entry::images(&self.images)?;
        entry::tags(&self.tags)?;
        Flavor::parse(&self.flavor).map(|_| ())
    }
}

/// How many templates, and how many expressions, are kept; more start anew.
const MAX_KEPT: usize = 4096;

/// Computes metadata, and keeps what it read on the way: templates, regular expressions, zones.
///
/// A value for many requests is faster than one for each, and gives the same.
#[derive(Debug, Default)]
pub struct Engine {
    templates: RefCell<HashMap<String, Rc<Template>>>,
    patterns: RefCell<HashMap<String, Rc<Pattern>>>,
    tags: RefCell<HashMap<Vec<String>, Rc<Vec<TagEntry>>>>,
    zones: Zones,
}

impl Engine {
    /// Computes what docker/metadata-action would for `inputs` in `context`.
    ///
    /// # Errors
    /// Inputs that the neighbour refuses, and names that it would print and no registry takes.
    pub fn metadata(&self, inputs: &Inputs, context: &Context) -> Result<Metadata, MetadataError> {
        let names = entry::images(&inputs.images)?;
        let tags = self.tags(&inputs.tags)?;
        let flavor = Flavor::parse(&inputs.flavor)?;
        let global = Global { context, zones: &self.zones, is_dates_only: false };
        let mut applying = Applying {
            engine: self,
            context,
            global: &global,
            flavor: &flavor,
            versions: Versions::default(),
        };
        tags.iter().try_for_each(|tag| applying.apply(tag))?;
        let Versions { main, partial, is_latest, warnings } = applying.versions;
        let version = Version {
            main: main.map(tag).transpose()?,
            partial: partial.into_iter().map(tag).collect::<Result<_, _>>()?,
            is_latest: is_latest.unwrap_or(false),
        };
        let latest = latest_name(&version, &flavor)?;
        let images = images(names, &version)?;
        let labels = labels::labels(self, &inputs.labels, &version, &global)?;
        let annotations = labels::labels(self, &inputs.annotations, &version, &global)?;
        Ok(Metadata {
            version,
            latest,
            images,
            labels,
            annotations,
            levels: context.annotation_levels.clone(),
            bake_target: inputs.bake_target.clone(),
            warnings,
        })
    }

    fn tags(&self, entries: &[String]) -> Result<Rc<Vec<TagEntry>>, MetadataError> {
        if let Some(tags) = self.tags.borrow().get(entries) {
            return Ok(Rc::clone(tags));
        }
        let tags = Rc::new(entry::tags(entries)?);
        keep(&mut self.tags.borrow_mut(), entries.to_vec(), &tags);
        Ok(tags)
    }

    /// Renders a template in `world`.
    pub(super) fn render(&self, template: &str, world: &dyn World) -> Result<String, MetadataError> {
        if !template.contains("{{") && !template.contains('\0') {
            return Ok(template.to_owned());
        }
        let failed = |failure: super::expression::Failure| MetadataError::Expression {
            template: template.to_owned(),
            reason: failure.to_string(),
        };
        let known = self.templates.borrow().get(template).cloned();
        let read = match known {
            Some(read) => read,
            None => {
                let read = Rc::new(Template::parse(template).map_err(failed)?);
                keep(&mut self.templates.borrow_mut(), template.to_owned(), &read);
                read
            }
        };
        read.render(world).map_err(failed)
    }

    /// Finds a regular expression, plain or as `/expression/flags`; gives the groups.
    pub(super) fn find(
        &self,
        pattern: &str,
        text: &str,
    ) -> Result<Option<Vec<Option<String>>>, MetadataError> {
        let known = self.patterns.borrow().get(pattern).cloned();
        let read = match known {
            Some(read) => read,
            None => {
                let (source, flags) = delimited(pattern).unwrap_or((pattern, ""));
                let read = Pattern::parse(source, flags);
                let invalid = |reason| MetadataError::Pattern { pattern: pattern.to_owned(), reason };
                let read = Rc::new(read.map_err(invalid)?);
                keep(&mut self.patterns.borrow_mut(), pattern.to_owned(), &read);
                read
            }
        };
        read.find(text).map_err(|_| MetadataError::PatternTooSlow { pattern: pattern.to_owned() })
    }
}

fn keep<K: std::hash::Hash + Eq, T>(kept: &mut HashMap<K, Rc<T>>, key: K, value: &Rc<T>) {
    if kept.len() == MAX_KEPT {
        kept.clear();
    }
    kept.insert(key, Rc::clone(value));
}

/// Returns expression and flags of `/expression/flags`; neither has a line end in it.
fn delimited(pattern: &str) -> Option<(&str, &str)> {
    let is_line = |text: &str| !text.contains(['\n', '\r', '\u{2028}', '\u{2029}']);
    let (source, flags) = pattern.strip_prefix('/')?.rsplit_once('/')?;
    (!source.is_empty() && is_line(source) && is_line(flags)).then_some((source, flags))
}

fn tag(text: String) -> Result<Tag, MetadataError> {
    text.parse().map_err(|source| MetadataError::Tag { tag: text, source })
}

/// Returns the tag `latest` with what the flavor puts around it.
fn latest_name(version: &Version, flavor: &Flavor) -> Result<Option<Tag>, MetadataError> {
    if version.main.is_none() || !version.is_latest {
        return Ok(None);
    }
    // The neighbour renders no expressions here: they end as dashes.
    let prefix = if flavor.is_prefix_on_latest { flavor.prefix.as_str() } else { "" };
    let suffix = if flavor.is_suffix_on_latest { flavor.suffix.as_str() } else { "" };
    tag(sanitise(&format!("{prefix}latest{suffix}"))).map(Some)
}

/// Checks the names of images, where tags will stand behind them.
fn images(names: Vec<String>, version: &Version) -> Result<Vec<Image>, MetadataError> {
    let image = |name: String| match name.parse::<Repository>() {
        Ok(repository) => Ok(Image { name, repository: Some(repository) }),
        Err(_) if version.main.is_none() => Ok(Image { name, repository: None }),
        Err(source) => Err(MetadataError::Name { name, source }),
    };
    names.into_iter().map(image).collect()
}
