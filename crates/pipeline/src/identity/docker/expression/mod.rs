//! Handlebars, as far as one-line expressions go: a reader, and a renderer over a small world of values.
//!
//! Written for docker/metadata-action's expressions, whose results depend on details that the
//! language's own page does not promise: what is escaped, when a function is called, which
//! whitespace goes. Partials, decorators and helpers of one's own are errors, because the action has
//! none. Reading and rendering are bounded: templates come from files that anyone may have written.
//!
//! Source: handlebars.js 4.7, "Expressions", "Block helpers", "Built-in helpers", and its behaviour.

mod lex;
mod parse;
mod render;
mod value;
mod whitespace;

use std::fmt;

pub(super) use value::{Arguments, Function, Value, World};

/// How deep blocks and sub-expressions may stand in each other.
const MAX_DEPTH: usize = 64;

/// How much a template may give, in bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// A template that has been read.
#[derive(Debug)]
pub(super) enum Template {
    /// Text without any expression, which is most of what there is.
    Plain(String),
    /// Text with expressions.
    Program(Program),
}

/// Why a template cannot be read or rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure(pub(super) String);

impl Failure {
    /// Returns a failure with `reason`.
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A list of nodes: a template, or one side of a block.
#[derive(Debug, Default)]
pub(super) struct Program {
    body: Vec<Node>,
    parameters: Vec<String>,
    chained: bool,
}

#[derive(Debug)]
enum Node {
    Content(Content),
    Comment { strip: Strip },
    Mustache { call: Call, is_escaped: bool, strip: Strip },
    Block(Box<Block>),
    PartialBlock(Box<Block>),
    Partial { name: String, strip: Strip },
}

/// Text between expressions; `original` decides about whitespace, `value` is what is left of it.
#[derive(Debug)]
struct Content {
    original: String,
    value: String,
    is_left_stripped: bool,
    is_right_stripped: bool,
}

#[derive(Debug)]
struct Block {
    call: Call,
    program: Option<Program>,
    inverse: Option<Program>,
    open_strip: Strip,
    inverse_strip: Strip,
    close_strip: Strip,
}

/// The tildes of a tag.
#[derive(Clone, Copy, Debug, Default)]
struct Strip {
    open: bool,
    close: bool,
}

/// What stands in a tag: a path or literal, and what it is called with.
#[derive(Debug)]
struct Call {
    path: Path,
    parameters: Vec<Expression>,
    hash: Vec<(String, Expression)>,
}

#[derive(Debug)]
enum Expression {
    Path(Path),
    Literal(Value),
    Call(Call),
}

/// `a.b`, `../a`, `@index`, `this`.
#[derive(Clone, Debug, Default)]
struct Path {
    parts: Vec<String>,
    depth: usize,
    is_data: bool,
    /// It starts with `.`, `..` or `this`, so that it names no helper.
    is_scoped: bool,
    is_literal: bool,
    original: String,
}

impl Path {
    fn is_simple(&self) -> bool {
        self.parts.len() == 1 && !self.is_scoped && self.depth == 0
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The text is no template.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if !text.contains("{{") && !text.contains('\0') {
            return Ok(Self::Plain(text.to_owned()));
        }
        let mut program = parse::parse(text)?;
        whitespace::control(&mut program);
        Ok(Self::Program(program))
    }

    /// Renders the template in `world`.
    ///
    /// # Errors
    /// It calls what is not there, or a function of the world refuses.
    pub(super) fn render(&self, world: &dyn World) -> Result<String, Failure> {
        match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Program(program) => render::render(program, world),
        }
    }

    /// Whether the template is one expression and nothing else, and that expression names `name`.
    pub(super) fn is_just(text: &str, name: &str) -> bool {
        let Ok(program) = parse::parse(text) else { return false };
        match program.body.as_slice() {
            [Node::Mustache { call, .. }] => !call.path.is_literal && call.path.parts == [name],
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
