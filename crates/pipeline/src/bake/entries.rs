//! Things that are written in two ways: `type=registry,ref=x` and `{ type = "registry", ref = "x" }`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::convert::convert;
use super::csv;
use super::value::{Type, Value};

/// A cache, an output or an attestation: a type and attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its type, such as `registry` or `local`.
    pub kind: String,
    /// Attributes in the order of their names.
    pub attributes: BTreeMap<String, String>,
    /// Whether it is written to be left out (attestations).
    pub disabled: bool,
}

/// A secret that steps may read.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Secret {
    /// The name that steps use.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The file it is in; empty for none.
    #[serde(rename = "src", skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The variable it is in; empty for none.
    #[serde(rename = "env", skip_serializing_if = "String::is_empty")]
    pub variable: String,
}

/// An SSH agent, or keys for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Ssh {
    /// The name that steps use.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Keys, or the socket of an agent; none is the agent of the environment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// What can be read from text and from an object, and shown as one.
pub(super) trait TwoForms: Clone + PartialEq + Sized {
    /// Reads one text, which may hold several.
    fn read(text: &str) -> Result<Vec<Self>, String>;
    /// Reads an object.
    fn from_object(value: &Value) -> Result<Self, String>;
    /// Returns the object that expressions see.
    fn to_value(&self) -> Value;
}

/// Reads a list of texts and objects; empty texts and nothing are left out.
pub(super) fn read_all<T: TwoForms>(value: &Value) -> Result<Option<Vec<T>>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let items = value.items().ok_or("list of map of string required")?;
    let mut entries = Vec::new();
    for item in items {
        match item {
            Value::Null | Value::NullOf(_) => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => entries.extend(T::read(text)?),
            Value::Map(..) | Value::Object(_) => entries.push(T::from_object(item)?),
            _ => return Err("list of map of string required".to_owned()),
        }
    }
    Ok(Some(entries))
}

/// Returns the list that expressions see.
pub(super) fn list_value<T: TwoForms>(entries: &[T]) -> Value {
    let values: Vec<Value> = entries.iter().map(T::to_value).collect();
    let kind = values.first().map_or(Type::Map(Box::new(Type::String)), Value::kind);
    Value::List(kind, Arc::new(values))
}

/// Leaves each entry once, where the neighbour leaves it: a later double is taken from the end.
pub(super) fn without_doubles<T: PartialEq>(entries: &mut Vec<T>) {
    for at in (0..entries.len().saturating_sub(1)).rev() {
        if let Some(double) = (at + 1..entries.len()).find(|other| entries[*other] == entries[at]) {
            entries.swap_remove(double);
        }
    }
}

/// Leaves one attestation of each type: the last, at the place of the first.
pub(super) fn one_of_each_type(entries: &mut Vec<Entry>) {
    let mut kept: Vec<Entry> = Vec::new();
    for entry in entries.drain(..) {
        match kept.iter_mut().find(|known| known.kind == entry.kind) {
            Some(known) => *known = entry,
            None => kept.push(entry),
        }
    }
    *entries = kept;
}

/// A cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cache(pub(super) Entry);

/// An output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output(pub(super) Entry);

/// An attestation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attestation(pub(super) Entry);

fn pair(field: &str) -> Result<(&str, &str), String> {
    field.split_once('=').ok_or_else(|| format!("invalid value {field}: NAME=VALUE is expected"))
}

fn text_map(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let map = convert(value, &Type::Map(Box::new(Type::String)))?;
    let entries = map.entries().into_iter().flatten();
    Ok(entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect())
}

fn typed(mut attributes: BTreeMap<String, String>, what: &str) -> Result<Entry, String> {
    let kind = attributes.remove("type").filter(|kind| !kind.is_empty());
    let kind = kind.ok_or_else(|| format!("{what} needs a type, such as type = \"registry\""))?;
    Ok(Entry { kind, attributes, disabled: false })
}

impl Entry {
    /// Returns the entry as flags have it: `type=KIND,NAME=VALUE`.
    pub(super) fn words(&self) -> String {
        let attributes = self.attributes.iter().map(|(name, value)| format!(",{name}={value}"));
        attributes.fold(format!("type={}", self.kind), |words, attribute| words + &attribute)
    }

    /// Returns the entry without one of its attributes.
    pub(super) fn without(&self, name: &str) -> Self {
        let mut entry = self.clone();
        entry.attributes.remove(name);
        entry
    }

    fn value(&self) -> Value {
        let mut entries: BTreeMap<String, Value> =
            self.attributes.iter().map(|(name, value)| (name.clone(), Value::string(value))).collect();
        entries.insert("type".to_owned(), Value::string(&self.kind));
        if self.disabled {
            entries.insert("disabled".to_owned(), Value::string("true"));
        }
        Value::Map(Type::String, Arc::new(entries))
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut rest: BTreeMap<&str, serde_json::Value> =
            self.attributes.iter().map(|(name, value)| (name.as_str(), value.clone().into())).collect();
        rest.insert("type", self.kind.clone().into());
        if self.disabled {
            rest.insert("disabled", true.into());
        }
        for (name, value) in rest {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}

impl TwoForms for Cache {
    fn read(text: &str) -> Result<Vec<Self>, String> {
        let fields = csv::fields(text)?;
        if !text.contains('=') {
            let reference = |field: String| {
                let attributes = BTreeMap::from([("ref".to_owned(), field)]);
                Self(Entry { kind: "registry".to_owned(), attributes, disabled: false })
            };
            return Ok(fields.into_iter().map(reference).collect());
        }
        let mut attributes = BTreeMap::new();
        for field in &fields {
            let (name, value) = pair(field)?;
            attributes.insert(name.to_lowercase(), value.to_owned());
        }
        Ok(vec![Self(typed(attributes, "a cache")?)])
    }

    fn from_object(value: &Value) -> Result<Self, String> {
        typed(text_map(value)?, "a cache").map(Self)
    }

    fn to_value(&self) -> Value {
        self.0.value()
    }
}

impl TwoForms for Output {
    fn read(text: &str) -> Result<Vec<Self>, String> {
        let fields = csv::fields(text)?;
        if fields.len() == 1 && fields[0] == text && !text.starts_with("type=") {
            let kind = if text == "-" { "tar" } else { "local" };
            let attributes = BTreeMap::from([("dest".to_owned(), text.to_owned())]);
            return Ok(vec![Self(Entry { kind: kind.to_owned(), attributes, disabled: false })]);
        }
        let mut attributes = BTreeMap::new();
        for field in &fields {
            let (name, value) = pair(field)?;
            attributes.insert(name.to_lowercase().trim().to_owned(), value.to_owned());
        }
        Ok(vec![Self(typed(without_empty_destination(attributes), "an output")?)])
    }

    fn from_object(value: &Value) -> Result<Self, String> {
        typed(without_empty_destination(text_map(value)?), "an output").map(Self)
    }

    fn to_value(&self) -> Value {
        self.0.value()
    }
}

fn without_empty_destination(mut attributes: BTreeMap<String, String>) -> BTreeMap<String, String> {
    if attributes.get("dest").is_some_and(String::is_empty) {
        attributes.remove("dest");
    }
    attributes
}

impl TwoForms for Attestation {
    fn read(text: &str) -> Result<Vec<Self>, String> {
        let mut attributes = BTreeMap::new();
        for field in csv::fields(text)? {
            let (name, value) = pair(&field)?;
            let key = name.to_lowercase().trim().to_owned();
            let name = if matches!(key.as_str(), "type" | "disabled") { key } else { name.to_owned() };
            attributes.insert(name, value.to_owned());
        }
        attestation(attributes).map(|attestation| vec![attestation])
    }

    fn from_object(value: &Value) -> Result<Self, String> {
        attestation(text_map(value)?)
    }

    fn to_value(&self) -> Value {
        self.0.value()
    }
}

fn attestation(mut attributes: BTreeMap<String, String>) -> Result<Attestation, String> {
    let disabled = attributes.remove("disabled").map(|text| truth(&text)).transpose()?.unwrap_or(false);
    Ok(Attestation(Entry { disabled, ..typed(attributes, "an attestation")? }))
}

/// Reads a truth value as the neighbour's flags do.
pub(super) fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid value {text}: true or false is expected")),
    }
}

impl TwoForms for Secret {
    fn read(text: &str) -> Result<Vec<Self>, String> {
        let mut secret = Self::default();
        let mut kind = String::new();
        for field in csv::fields(text)? {
            let (name, value) = pair(&field)?;
            match name.to_lowercase().as_str() {
                "type" if value != "file" && value != "env" => {
                    return Err(format!("unsupported secret type {value:?}: file or env is expected"));
                }
                "type" => kind = value.to_owned(),
                "id" => secret.id = value.to_owned(),
                "source" | "src" => secret.file = value.to_owned(),
                "env" => secret.variable = value.to_owned(),
                other => {
                    return Err(format!(
                        "unexpected key {other:?} in {field:?}: id, src, env and type are known"
                    ));
                }
            }
        }
        if kind == "env" && secret.variable.is_empty() {
            secret.variable = std::mem::take(&mut secret.file);
        }
        Ok(vec![secret])
    }

    fn from_object(value: &Value) -> Result<Self, String> {
        let map = text_map(value)?;
        let take = |name: &str| map.get(name).cloned().unwrap_or_default();
        Ok(Self { id: take("id"), file: take("src"), variable: take("env") })
    }

    fn to_value(&self) -> Value {
        let entry = |name: &str, text: &str| (name.to_owned(), Value::string(text));
        let entries = [entry("id", &self.id), entry("src", &self.file), entry("env", &self.variable)];
        Value::object(entries.into())
    }
}

impl TwoForms for Ssh {
    fn read(text: &str) -> Result<Vec<Self>, String> {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let paths = paths.split(',').filter(|path| !path.is_empty()).map(str::to_owned).collect();
        Ok(vec![Self { id: id.to_owned(), paths }])
    }

    fn from_object(value: &Value) -> Result<Self, String> {
        let entries = value.entries().ok_or("an object with id and paths is required")?;
        let id = entries.get("id").map(|id| convert(id, &Type::String)).transpose()?;
        let paths = entries
            .get("paths")
            .map(|paths| convert(paths, &Type::List(Box::new(Type::String))))
            .transpose()?;
        let paths = paths.as_ref().and_then(Value::items).unwrap_or_default();
        Ok(Self {
            id: id.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
            paths: paths.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    fn to_value(&self) -> Value {
        let paths = Value::strings(self.paths.iter().cloned());
        Value::object([("id".to_owned(), Value::string(&self.id)), ("paths".to_owned(), paths)].into())
    }
}
