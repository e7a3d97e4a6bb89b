//! Expressions of workflows, `${{ github.ref == 'refs/heads/main' }}`: read and evaluated.
//!
//! Values are JSON. What nobody can know before a run (outputs of steps, secrets, functions over
//! files) is [`Unknown`], and stays so only where the result depends on it: `false && secrets.X` is
//! false.
//!
//! | about | rule |
//! |---|---|
//! | comparison of texts, `contains`, `startsWith`, `endsWith`, names of properties | without regard to case |
//! | comparison of different kinds | as numbers; what is no number equals nothing |
//! | `&&` `\|\|` | give one of their sides, not a boolean |
//! | a property that is not there | null, which is an empty text |
//!
//! Source: GitHub's documentation, "Evaluate expressions in workflows and actions".

mod evaluate;
mod lex;
mod parse;
mod template;

use serde_json::Value;

pub use template::{Piece, Template};

/// An expression, without the braces around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    root: Node,
    source: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Literal(Value),
    /// A context, such as `github`.
    Context(String),
    Property(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    /// `.*`: every element.
    Each(Box<Node>),
    Call(String, Vec<Node>),
    Not(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no expression: {reason}")]
pub struct InvalidExpression {
    /// What was given, cut at 100 characters.
    pub text: String,
    /// What is wrong.
    pub reason: String,
}

/// The result depends on something that only a run knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is only known in a run")]
pub struct Unknown {
    /// What it depends on, such as `steps.plan`.
    pub what: String,
}

/// Where contexts come from.
pub trait Scope {
    /// Returns a context, such as `github`; `None` where it is only known in a run.
    fn context(&self, name: &str) -> Option<Value>;

    /// Returns a property of a context that is only partly known; by default that of the whole.
    fn property(&self, context: &str, name: &str) -> Option<Value> {
        self.context(context).map(|whole| evaluate::property(&whole, name))
    }
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it; also where it is longer than 21,000 characters or deeper than 50, as the
    /// host has it.
    pub fn parse(text: &str) -> Result<Self, InvalidExpression> {
        let invalid = |reason: String| InvalidExpression { text: text.chars().take(100).collect(), reason };
        let root = parse::parse(text).map_err(invalid)?;
        Ok(Self { root, source: text.trim().to_owned() })
    }

    /// Returns the expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns its value.
    ///
    /// # Errors
    /// [`Unknown`] where it depends on what only a run knows.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, Unknown> {
        evaluate::evaluate(&self.root, scope)
    }

    /// Returns the texts that stand in it: names of branches and tags that somebody cares about.
    pub fn literals(&self) -> Vec<&str> {
        let mut found = Vec::new();
        literals(&self.root, &mut found);
        found
    }

    /// Returns the contexts' properties that it names, such as `steps.meta.outputs.tags`.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        paths(&self.root, &mut found);
        found
    }
}

/// Whether a value counts as true.
pub fn is_true(value: &Value) -> bool {
    evaluate::is_true(value)
}

/// Returns a value as it stands in a text.
pub fn text_of(value: &Value) -> String {
    evaluate::text(value)
}

fn literals<'a>(node: &'a Node, found: &mut Vec<&'a str>) {
    match node {
        Node::Literal(Value::String(text)) => found.push(text),
        Node::Literal(_) | Node::Context(_) => {}
        Node::Property(inner, _) | Node::Each(inner) | Node::Not(inner) => literals(inner, found),
        Node::Index(one, other) | Node::Binary(_, one, other) => {
            literals(one, found);
            literals(other, found);
        }
        Node::Call(_, arguments) => arguments.iter().for_each(|argument| literals(argument, found)),
    }
}

fn paths(node: &Node, found: &mut Vec<String>) {
    if let Some(path) = path(node) {
        return found.push(path);
    }
    match node {
        Node::Literal(_) | Node::Context(_) => {}
        Node::Property(inner, _) | Node::Each(inner) | Node::Not(inner) => paths(inner, found),
        Node::Index(one, other) | Node::Binary(_, one, other) => {
            paths(one, found);
            paths(other, found);
        }
        Node::Call(_, arguments) => arguments.iter().for_each(|argument| paths(argument, found)),
    }
}

/// Returns `a.b.c` of a chain of properties.
fn path(node: &Node) -> Option<String> {
    match node {
        Node::Context(name) => Some(name.clone()),
        Node::Property(inner, name) => Some(format!("{}.{name}", path(inner)?)),
        Node::Index(inner, index) => match &**index {
            Node::Literal(Value::String(name)) => Some(format!("{}.{name}", path(inner)?)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
