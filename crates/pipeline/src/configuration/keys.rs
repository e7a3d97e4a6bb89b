//! Keys that the configuration does not have, found by its JSON Schema, so that the keys we
//! suggest are the keys we read.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;
use toml_edit::{Item, TableLike};

/// A key that nothing reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownKey {
    /// The key as written.
    pub(super) key: String,
    /// The table it stands in, such as `service.api`; empty at the top.
    pub(super) table: String,
    /// Where the key stands.
    pub(super) span: Option<Range<usize>>,
    /// The way out.
    pub(super) hint: String,
}

/// Returns every key of `table` that `schema` does not allow, in the order of the file.
pub(super) fn unknown_keys(table: &dyn TableLike, schema: &Value) -> Vec<UnknownKey> {
    let mut walk = Walk { root: schema, found: Vec::new() };
    walk.table(table, &[schema], "");
    walk.found.sort_by_key(|unknown| unknown.span.as_ref().map(|span| span.start));
    walk.found
}

struct Walk<'a> {
    root: &'a Value,
    found: Vec<UnknownKey>,
}

/// What a table may hold, gathered from all the schemas that may be meant.
#[derive(Default)]
struct Allowed<'a> {
    properties: BTreeMap<&'a str, Vec<&'a Value>>,
    any_key: Vec<&'a Value>,
    closed: bool,
}

impl<'a> Walk<'a> {
    fn table(&mut self, table: &dyn TableLike, schemas: &[&'a Value], path: &str) {
        let mut allowed = Allowed::default();
        schemas.iter().for_each(|schema| self.gather(schema, &mut allowed));
        for (key, item) in table.iter() {
            let inner = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            if let Some(schemas) = allowed.properties.get(key) {
                self.item(item, schemas, &inner);
            } else if !allowed.any_key.is_empty() {
                self.item(item, &allowed.any_key, &inner);
            } else if allowed.closed {
                let span = table.key(key).and_then(toml_edit::Key::span);
                let hint = self.hint(key, path, &allowed);
                self.found.push(UnknownKey { key: key.to_owned(), table: path.to_owned(), span, hint });
            }
        }
    }

    fn item(&mut self, item: &Item, schemas: &[&'a Value], path: &str) {
        if let Some(table) = item.as_table_like() {
            return self.table(table, schemas, path);
        }
        let mut elements = Vec::new();
        schemas.iter().for_each(|schema| self.elements(schema, &mut elements));
        if let Some(tables) = item.as_array_of_tables() {
            tables.iter().for_each(|table| self.table(table, &elements, path));
        }
        for value in item.as_array().into_iter().flatten() {
            if let Some(table) = value.as_inline_table() {
                self.table(table, &elements, path);
            }
        }
    }

    fn gather(&self, schema: &'a Value, allowed: &mut Allowed<'a>) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            allowed.properties.entry(key).or_default().push(property);
        }
        match &schema["additionalProperties"] {
            Value::Bool(false) => allowed.closed = true,
            any @ Value::Object(_) => allowed.any_key.push(any),
            _ => {}
        }
        self.alternatives(schema).for_each(|schema| self.gather(schema, allowed));
    }

    fn elements(&self, schema: &'a Value, elements: &mut Vec<&'a Value>) {
        elements.extend(schema.get("items"));
        self.alternatives(schema).for_each(|schema| self.elements(schema, elements));
    }

    /// Returns the schemas that `schema` refers to or chooses from.
    fn alternatives(&self, schema: &'a Value) -> impl Iterator<Item = &'a Value> {
        let referred = schema["$ref"].as_str().and_then(|name| self.root.pointer(name.strip_prefix('#')?));
        let chosen =
            ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|word| schema[word].as_array()).flatten();
        referred.into_iter().chain(chosen)
    }

    fn hint(&self, key: &str, path: &str, allowed: &Allowed<'_>) -> String {
        let known = allowed.properties.keys().copied();
        if let Some(near) = crate::suggest::closest(key, known) {
            return format!("did you mean `{near}`?");
        }
        if let Some(place) = self.elsewhere(key).filter(|place| *place != path) {
            return format!("`{key}` is a key of [{place}]");
        }
        let known: Vec<String> = allowed.properties.keys().map(|key| format!("`{key}`")).collect();
        match path {
            "" => format!("the top of the file takes {}", known.join(", ")),
            path => format!("[{path}] takes {}", known.join(", ")),
        }
    }

    /// Returns the table of one or two words that has the key, where there is just one.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let mut places = Vec::new();
        self.places(self.root, key, "", 0, &mut places);
        match places.as_slice() {
            [place] => Some(place.clone()),
            _ => None,
        }
    }

    fn places(&self, schema: &'a Value, key: &str, path: &str, depth: usize, places: &mut Vec<String>) {
        let mut allowed = Allowed::default();
        self.gather(schema, &mut allowed);
        if !path.is_empty() && allowed.properties.contains_key(key) {
            places.push(path.to_owned());
        }
        let named =
            allowed.properties.iter().flat_map(|(name, schemas)| schemas.iter().map(move |s| (*name, *s)));
        let inner = named.chain(allowed.any_key.iter().map(|schema| ("NAME", *schema)));
        for (name, schema) in inner.filter(|_| depth < 2) {
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            self.places(schema, key, &path, depth + 1, places);
        }
    }
}
