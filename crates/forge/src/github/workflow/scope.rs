//! The contexts of a step before any run: what the event says, what the file sets, one leg of a matrix.

use std::cell::Cell;

use serde_json::Value;

use super::document::Text;
use crate::github::expression::{Scope, Template};

/// Contexts of a step.
pub(super) struct StepScope<'a> {
    /// The context `github`.
    pub(super) github: &'a Value,
    /// The leg of the matrix.
    pub(super) matrix: &'a Value,
    /// Inputs that have a default.
    pub(super) inputs: &'a Value,
    /// Variables, those of the step first.
    pub(super) env: Vec<&'a [(String, Text)]>,
    /// How deep variables are being looked up in variables.
    pub(super) depth: Cell<usize>,
}

/// How deep variables may name variables.
const MAX_DEPTH: usize = 10;

impl Scope for StepScope<'_> {
    fn context(&self, name: &str) -> Option<Value> {
        match name {
            "github" => Some(self.github.clone()),
            "matrix" => Some(self.matrix.clone()),
            "inputs" => Some(self.inputs.clone()),
            _ => None,
        }
    }

    fn property(&self, context: &str, name: &str) -> Option<Value> {
        match context {
            "env" => self.variable(name),
            // What is not there before a run is not known; what a payload lacks is null.
            "github" if matches!(name, "token" | "workspace" | "job" | "action" | "action_path") => None,
            "github" => Some(known(self.github, name).unwrap_or(Value::Null)),
            "matrix" => Some(known(self.matrix, name).unwrap_or(Value::Null)),
            "inputs" => known(self.inputs, name),
            _ => None,
        }
    }
}

impl StepScope<'_> {
    /// A variable that the file does not set may come from an earlier step.
    fn variable(&self, name: &str) -> Option<Value> {
        let layers = self.env.iter().enumerate();
        let mut found =
            layers.filter_map(|(at, layer)| Some((at, layer.iter().find(|(key, _)| key == name)?)));
        let (layer, (_, text)) = found.next()?;
        if self.depth.get() >= MAX_DEPTH {
            return None;
        }
        let outer = StepScope {
            env: self.env[layer + 1..].to_vec(),
            depth: Cell::new(self.depth.get() + 1),
            ..*self
        };
        Template::parse(&text.text).ok()?.render(&outer).ok().map(Value::from)
    }
}

fn known(context: &Value, name: &str) -> Option<Value> {
    let members = context.as_object()?;
    let found = members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.clone())
}
