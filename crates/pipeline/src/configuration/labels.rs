//! Labels and annotations as they are configured: a table of templates, or, for
//! docker/metadata-action's engine, its own lines of `key=value`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::values::OneOrMany;
use crate::identity::template::Template;

/// Labels or annotations; of templates and lines one is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelRules {
    /// Templates by key.
    pub templates: BTreeMap<String, Template>,
    /// Lines of `key=value`, with docker/metadata-action's expressions.
    pub lines: Vec<String>,
}

impl Serialize for LabelRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.lines.is_empty() {
            return self.templates.serialize(serializer);
        }
        self.lines.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LabelRules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LabelVisitor)
    }
}

struct LabelVisitor;

impl<'de> Visitor<'de> for LabelVisitor {
    type Value = LabelRules;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of labels, or lines of key=value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LabelRules, A::Error> {
        let templates = BTreeMap::deserialize(MapAccessDeserializer::new(map))?;
        Ok(LabelRules { templates, lines: Vec::new() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<LabelRules, A::Error> {
        let lines = Vec::deserialize(SeqAccessDeserializer::new(sequence))?;
        Ok(LabelRules { templates: BTreeMap::new(), lines })
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<LabelRules, E> {
        Ok(LabelRules { templates: BTreeMap::new(), lines: vec![text.to_owned()] })
    }
}

impl JsonSchema for LabelRules {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LabelRules".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<BTreeMap<String, Template>>();
        let lines = generator.subschema_for::<OneOrMany<String>>();
        json_schema!({ "anyOf": [table, lines] })
    }
}
