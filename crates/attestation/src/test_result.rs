//! The predicate that says how tests of a subject ended.
//!
//! Source: in-toto attestation framework, predicate `test-result` v0.1.

use serde::{Deserialize, Serialize};

use crate::{Resource, Statement};

/// The predicate's type.
pub const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// How the tests ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// The worst of all tests.
    pub result: Outcome,
    /// What the tests were configured by, such as the configuration file at its commit.
    pub configuration: Vec<Resource>,
    /// Where more can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Tests that passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_tests: Vec<String>,
    /// Tests that passed with a warning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warned_tests: Vec<String>,
    /// Tests that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_tests: Vec<String>,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// As it should.
    Passed,
    /// As it should, with a remark.
    Warned,
    /// Otherwise.
    Failed,
}

impl TestResult {
    /// Returns the result of `tests`, names with their outcomes, in their order. `None` for no tests:
    /// that nothing was tested is not a pass.
    pub fn of(tests: &[(String, Outcome)], configuration: Vec<Resource>) -> Option<Self> {
        let result = tests.iter().map(|(_, outcome)| *outcome).max()?;
        let with = |wanted: Outcome| {
            let ended_so = tests.iter().filter(move |(_, outcome)| *outcome == wanted);
            ended_so.map(|(name, _)| name.clone()).collect()
        };
        Some(Self {
            result,
            configuration,
            url: None,
            passed_tests: with(Outcome::Passed),
            warned_tests: with(Outcome::Warned),
            failed_tests: with(Outcome::Failed),
        })
    }

    /// Returns the statement that `subjects` were tested with this result.
    pub fn about(&self, subjects: Vec<Resource>) -> Statement {
        let predicate = serde_json::to_value(self).expect("a test result has only string keys");
        Statement::new(subjects, PREDICATE_TYPE, predicate)
    }
}

#[cfg(test)]
mod tests {
    use oci::Digest;

    use super::*;

    #[test]
    fn the_worst_test_decides() {
        let tests = [("smoke", Outcome::Passed), ("slow", Outcome::Warned), ("api", Outcome::Failed)];
        let tests: Vec<_> = tests.map(|(name, outcome)| (name.to_owned(), outcome)).into();
        let result = |count| TestResult::of(&tests[..count], Vec::new()).map(|result| result.result);
        assert_eq!(result(0), None);
        assert_eq!(result(1), Some(Outcome::Passed));
        assert_eq!(result(2), Some(Outcome::Warned));
        assert_eq!(result(3), Some(Outcome::Failed));
    }

    #[test]
    fn travels_in_a_statement() {
        let digest = Digest::of(b"image");
        let tests = [("smoke".to_owned(), Outcome::Passed)];
        let configuration = vec![Resource::new("plimsoll.toml", Digest::of(b"configuration"))];
        let result = TestResult::of(&tests, configuration).unwrap();
        let statement =
            Statement::parse(&result.about(vec![Resource::new("api", digest)]).to_bytes()).unwrap();
        assert!(statement.is_about(&digest));
        assert_eq!(statement.predicate["result"], "PASSED");
        assert_eq!(statement.predicate["passedTests"][0], "smoke");
        assert_eq!(statement.predicate_of::<TestResult>(PREDICATE_TYPE).unwrap(), Some(result));
    }
}
