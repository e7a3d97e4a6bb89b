//! From text to typed values: overrides, unknown keys, and the place of every mistake.

use std::ops::Range;

use serde::Deserialize as _;
use toml_edit::{Document, DocumentMut, Item, Key, TableLike, Value};

use super::error::{ConfigurationError, Place, Problem};
use super::{Configuration, check, keys};

/// Reads `text`, called `label`, with `overrides` of the form `key=value` applied in order.
pub(super) fn read(
    text: &str,
    label: &str,
    overrides: &[String],
) -> Result<Configuration, ConfigurationError> {
    if overrides.is_empty() {
        return Source { text, label }.configuration();
    }
    // What is wrong in the file itself is shown there, before an override moves any line.
    let mut edited = Source { text, label }.parse_for_editing()?;
    for given in overrides {
        edited = apply(edited, given, label)?;
    }
    let edited_text = edited.to_string();
    let result =
        Source { text: &edited_text, label: &format!("{label} with {}", named(overrides)) }.configuration();
    if result.is_err() {
        Source { text, label }.configuration()?;
    }
    result
}

fn named(overrides: &[String]) -> String {
    overrides.iter().map(|given| format!("--set {given}")).collect::<Vec<_>>().join(" ")
}

/// Sets one key. What is no value of TOML is text, and so is what only text fits.
fn apply(document: DocumentMut, given: &str, label: &str) -> Result<DocumentMut, ConfigurationError> {
    let invalid = |reason: String| ConfigurationError::Override { text: given.to_owned(), reason };
    let example = "expected KEY=VALUE, such as identity.short-sha=8";
    let (path, value) = given.split_once('=').ok_or_else(|| invalid(example.to_owned()))?;
    let path =
        Key::parse(path.trim()).map_err(|_| invalid(format!("{:?} is not a key; {example}", path.trim())))?;
    let as_text = || Value::from(value);
    let set = |value: Value| {
        let mut document = document.clone();
        set_at(document.as_table_mut(), &path, value).map_err(invalid)?;
        Ok(document)
    };
    let Ok(parsed) = value.trim().parse::<Value>() else {
        return set(as_text());
    };
    let document_with_value = set(parsed.clone())?;
    let reads =
        |document: &DocumentMut| Source { text: &document.to_string(), label }.configuration().is_ok();
    if !parsed.is_str() && !reads(&document_with_value) {
        let document_with_text = set(as_text())?;
        if reads(&document_with_text) {
            return Ok(document_with_text);
        }
    }
    Ok(document_with_value)
}

fn set_at(table: &mut dyn TableLike, path: &[Key], value: Value) -> Result<(), String> {
    let (first, rest) = path.split_first().expect("a parsed key has at least one part");
    if rest.is_empty() {
        table.insert(first.get(), Item::Value(value));
        return Ok(());
    }
    let item = table.entry(first.get()).or_insert_with(|| {
        let mut table = toml_edit::Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let kind = item.type_name();
    match item.as_table_like_mut() {
        Some(inner) => set_at(inner, rest, value),
        None => Err(format!("`{}` is not a table but {kind}", first.get())),
    }
}

/// A text and its name for people.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) label: &'a str,
}

impl Source<'_> {
    fn configuration(self) -> Result<Configuration, ConfigurationError> {
        let document = Document::parse(self.text).map_err(|error| self.syntax(&error))?;
        let deserializer = toml_edit::de::Deserializer::from(document.clone());
        let configuration = Configuration::deserialize(deserializer).map_err(|error| {
            // Every table refuses unknown keys; which ones there are, and what was meant, the schema knows. To
            // make it takes longer than all the rest of the start, so that is left to files that are wrong.
            let unknown = keys::unknown_keys(document.as_table(), super::schema().as_value());
            match unknown.is_empty() {
                true => self.invalid(error.message().to_owned(), None, error.span()),
                false => ConfigurationError::Invalid(
                    unknown.into_iter().map(|unknown| self.unknown_key(unknown)).collect(),
                ),
            }
        })?;
        let problems = check::check(&configuration, |path| span_at(document.as_item(), path), self);
        if problems.is_empty() { Ok(configuration) } else { Err(ConfigurationError::Invalid(problems)) }
    }

    fn parse_for_editing(self) -> Result<DocumentMut, ConfigurationError> {
        Document::parse(self.text).map(Document::into_mut).map_err(|error| self.syntax(&error))
    }

    fn syntax(self, error: &toml_edit::TomlError) -> ConfigurationError {
        self.invalid(error.message().to_owned(), None, error.span())
    }

    fn unknown_key(self, unknown: keys::UnknownKey) -> Problem {
        let message = match unknown.table.as_str() {
            "" => format!("unknown key `{}`", unknown.key),
            table => format!("unknown key `{}` in [{table}]", unknown.key),
        };
        self.problem(message, Some(unknown.hint), unknown.span)
    }

    fn invalid(
        self,
        message: String,
        hint: Option<String>,
        span: Option<Range<usize>>,
    ) -> ConfigurationError {
        ConfigurationError::Invalid(vec![self.problem(message, hint, span)])
    }

    pub(super) fn problem(
        self,
        message: String,
        hint: Option<String>,
        span: Option<Range<usize>>,
    ) -> Problem {
        let place = span.map(|span| Place::of(self.text, span));
        Problem { message, hint, place, label: self.label.to_owned() }
    }
}

/// Returns where the value at `path` stands, or else the nearest table around it. A part that is
/// a number counts the elements of an array.
fn span_at(item: &Item, path: &[&str]) -> Option<Range<usize>> {
    let Some((first, rest)) = path.split_first() else {
        return item.span();
    };
    if let Some(table) = item.as_table_like() {
        let key = || table.key(first).and_then(Key::span);
        let inner = table.get(first)?;
        return span_at(inner, rest).or_else(key).or_else(|| item.span());
    }
    let index: usize = first.parse().ok()?;
    let span = match (item.as_array_of_tables(), item.as_array()) {
        (Some(tables), _) => span_at(&Item::Table(tables.get(index)?.clone()), rest),
        (None, Some(array)) => span_at(&Item::Value(array.get(index)?.clone()), rest),
        (None, None) => None,
    };
    span.or_else(|| item.span())
}
