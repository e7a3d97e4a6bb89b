//! Labels and annotations.

use super::engine::Engine;
use super::error::MetadataError;
use super::global::Global;
use super::metadata::Version;
use super::order;

/// Returns the eight keys of the image specification and `custom` entries, sorted by key; of several
/// with one key the last counts. Entries without `=` are left out.
pub(super) fn labels(
    engine: &Engine,
    custom: &[String],
    version: &Version,
    global: &Global<'_>,
) -> Result<Vec<(String, String)>, MetadataError> {
    let context = global.context;
    let facts = &context.repository;
    let text = |fact: &Option<String>| fact.clone().unwrap_or_default();
    let named = |key: &str, value: String| (format!("org.opencontainers.image.{key}"), value);
    let mut labels = vec![
        named("created", format!("{:.3}", context.created.unwrap_or(context.now))),
        named("description", text(&facts.description)),
        named("licenses", text(&facts.license)),
        named("revision", context.sha.clone()),
        named("source", text(&facts.html_url)),
        named("title", text(&facts.name)),
        named("url", text(&facts.html_url)),
        named("version", version.main.as_ref().map(ToString::to_string).unwrap_or_default()),
    ];
    for entry in custom {
        let rendered = engine.render(entry, global)?;
        let Some((key, value)) = rendered.split_once('=') else { continue };
        match labels.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => value.clone_into(known),
            None => labels.push((key.to_owned(), value.to_owned())),
        }
    }
    if !custom.is_empty() {
        labels.sort_by_cached_key(|(key, _)| order::sort_key(key));
    }
    Ok(labels)
}
