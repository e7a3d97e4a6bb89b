//! What a rule reads a git tag as: `parse = "semver"`, `parse = { regex = "...", as = "pep440" }`.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Pattern;

/// What a git tag is read as. Without a regular expression there is a scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parse {
    /// Finds the version, in its group `version`, and gives its named groups as `{match:NAME}`.
    pub regex: Option<Pattern>,
    /// What the version is read as, which also says which of two is higher.
    pub scheme: Option<Scheme>,
}

/// How versions are written and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Semantic versions, with or without a `v`.
    Semver,
    /// Versions of Python packages.
    Pep440,
    /// Calendar versions.
    Calver,
}

const WORDS: [&str; 3] = ["semver", "pep440", "calver"];

impl Scheme {
    /// Returns the scheme as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Semver => WORDS[0],
            Self::Pep440 => WORDS[1],
            Self::Calver => WORDS[2],
        }
    }

    fn of_word<E: Error>(word: &str) -> Result<Self, E> {
        match word {
            "semver" => Ok(Self::Semver),
            "pep440" => Ok(Self::Pep440),
            "calver" => Ok(Self::Calver),
            other => {
                let hint = crate::suggest::did_you_mean(other, WORDS);
                let cut: String = other.chars().take(100).collect();
                Err(E::custom(format!(
                    "{cut:?} is none of semver, pep440, calver, nor a regular expression with named groups such as {{ regex = \"^release-(?<version>.+)$\" }}{hint}"
                )))
            }
        }
    }
}

impl From<Scheme> for Parse {
    fn from(scheme: Scheme) -> Self {
        Self { regex: None, scheme: Some(scheme) }
    }
}

impl fmt::Display for Parse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.regex, self.scheme) {
            (None, scheme) => f.write_str(scheme.unwrap_or(Scheme::Semver).as_str()),
            (Some(regex), None) => write!(f, "{regex}"),
            (Some(regex), Some(scheme)) => write!(f, "{regex} as {}", scheme.as_str()),
        }
    }
}

impl Serialize for Parse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(regex) = &self.regex else {
            return self.scheme.unwrap_or(Scheme::Semver).serialize(serializer);
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("regex", regex)?;
        self.scheme.iter().try_for_each(|scheme| map.serialize_entry("as", scheme))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Parse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParseVisitor)
    }
}

struct ParseVisitor;

impl<'de> Visitor<'de> for ParseVisitor {
    type Value = Parse;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("semver, pep440, calver, or { regex = \"^release-(?<version>.+)$\", as = \"semver\" }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Parse, E> {
        if text.contains("(?<") || text.contains("(?P<") {
            return Ok(Parse { regex: Some(text.parse().map_err(E::custom)?), scheme: None });
        }
        Scheme::of_word(text).map(Parse::from)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parse, A::Error> {
        let (mut regex, mut scheme) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "regex" => regex = Some(map.next_value::<Pattern>()?),
                "as" => scheme = Some(Scheme::of_word(&map.next_value::<String>()?)?),
                other => return Err(A::Error::unknown_field(other, &["regex", "as"])),
            }
        }
        match regex {
            Some(regex) => Ok(Parse { regex: Some(regex), scheme }),
            None => Err(A::Error::missing_field("regex")),
        }
    }
}

impl JsonSchema for Parse {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Parse".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (scheme, pattern) = (generator.subschema_for::<Scheme>(), generator.subschema_for::<Pattern>());
        json_schema!({ "anyOf": [
            scheme.clone(),
            { "type": "string", "description": "Regular expression with named groups", "pattern": "\\(\\?P?<" },
            {
                "type": "object",
                "properties": { "regex": pattern, "as": scheme },
                "required": ["regex"],
                "additionalProperties": false
            }
        ] })
    }
}
