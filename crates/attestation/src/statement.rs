//! Statements: what is claimed (the predicate) of what (the subjects).
//!
//! Source: in-toto attestation framework v1.0, `statement.md`. Version 0.1 is read as well, because
//! BuildKit and cosign still write it; the fields are the same.

use oci::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Resource;

/// The type of the statements we write.
pub const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";

/// The older type that others still write.
pub const STATEMENT_V0_1: &str = "https://in-toto.io/Statement/v0.1";

/// A claim about subjects that are named by their digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    /// What the claim is about; not empty in a statement that was parsed.
    pub subject: Vec<Resource>,
    /// What the predicate is, as a URI.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// The claim.
    #[serde(default)]
    pub predicate: Value,
}

/// Bytes are not a statement.
#[derive(Debug, thiserror::Error)]
pub enum InvalidStatement {
    /// Not JSON of a statement's shape.
    #[error("the statement is not valid JSON of its type")]
    Json(#[source] serde_json::Error),
    /// Of a type that is not in-toto's.
    #[error("{found:?} is not a statement type that can be read; expected {STATEMENT_V1}")]
    UnknownType {
        /// The type found.
        found: String,
    },
    /// It is about nothing that could be checked.
    #[error("the statement names no subject with a digest")]
    NoSubject,
}

impl Statement {
    /// Returns a statement that claims `predicate` of `subjects`.
    pub fn new(subjects: Vec<Resource>, predicate_type: &str, predicate: Value) -> Self {
        Self {
            kind: STATEMENT_V1.to_owned(),
            subject: subjects,
            predicate_type: predicate_type.to_owned(),
            predicate,
        }
    }

    /// Reads a statement.
    ///
    /// # Errors
    /// Not JSON, of another type, or without a subject that has a digest.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidStatement> {
        let statement: Self = serde_json::from_slice(bytes).map_err(InvalidStatement::Json)?;
        if ![STATEMENT_V1, STATEMENT_V0_1].contains(&statement.kind.as_str()) {
            return Err(InvalidStatement::UnknownType { found: statement.kind });
        }
        let empty = |subject: &Resource| subject.digest.0.is_empty();
        if statement.subject.is_empty() || statement.subject.iter().any(empty) {
            return Err(InvalidStatement::NoSubject);
        }
        Ok(statement)
    }

    /// Returns the statement as the bytes that an envelope carries.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a statement has only string keys")
    }

    /// Whether one of the subjects is `digest`. A claim about another digest says nothing about it.
    pub fn is_about(&self, digest: &Digest) -> bool {
        self.subject.iter().any(|subject| subject.digest.contains(digest))
    }

    /// Returns the predicate as `T` where its type is `predicate_type`.
    ///
    /// # Errors
    /// The predicate has the type and not its shape.
    pub fn predicate_of<T: DeserializeOwned>(
        &self,
        predicate_type: &str,
    ) -> Result<Option<T>, InvalidStatement> {
        if self.predicate_type != predicate_type {
            return Ok(None);
        }
        serde_json::from_value(self.predicate.clone()).map(Some).map_err(InvalidStatement::Json)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image() -> Digest {
        Digest::of(b"image")
    }

    #[test]
    fn reads_what_it_writes() {
        let subject = Resource::new("registry.example/acme/api", image());
        let statement = Statement::new(vec![subject], "https://example.org/claim/v1", json!({"answer": 42}));
        let read = Statement::parse(&statement.to_bytes()).unwrap();
        assert_eq!(read, statement);
        assert!(read.is_about(&image()) && !read.is_about(&Digest::of(b"other")));
    }

    #[test]
    fn is_written_in_the_order_of_the_specification() {
        let statement = Statement::new(vec![Resource::new("x", image())], "t", json!(null));
        let expected = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"x","digest":{{"sha256":"{}"}}}}],"predicateType":"t","predicate":null}}"#,
            image().hex()
        );
        assert_eq!(String::from_utf8(statement.to_bytes()).unwrap(), expected);
    }

    #[track_caller]
    fn refuse(text: &str, expected: &str) {
        assert_eq!(Statement::parse(text.as_bytes()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn refuses_what_claims_nothing_checkable() {
        refuse("{}", "the statement is not valid JSON of its type");
        refuse(
            r#"{"_type":"x","subject":[],"predicateType":"t"}"#,
            "\"x\" is not a statement type that can be read; expected https://in-toto.io/Statement/v1",
        );
        refuse(
            r#"{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"t"}"#,
            "the statement names no subject with a digest",
        );
        refuse(
            r#"{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"name":"x"}],"predicateType":"t"}"#,
            "the statement names no subject with a digest",
        );
    }

    #[test]
    fn a_predicate_of_another_type_is_none() {
        let statement = Statement::new(vec![Resource::new("x", image())], "t", json!(7));
        assert_eq!(statement.predicate_of::<u8>("other").unwrap(), None);
        assert_eq!(statement.predicate_of::<u8>("t").unwrap(), Some(7));
        assert!(statement.predicate_of::<String>("t").is_err());
    }
}
