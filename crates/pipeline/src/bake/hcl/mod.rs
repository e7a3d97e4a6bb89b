//! The native syntax. Source: HashiCorp HCL specification, "HCL Native Syntax".
//!
//! The parser is ours: the crates for it recurse without bound on foreign bytes, and positions inside
//! of templates are what messages need. Nesting is bounded by [`cursor::DEEPEST`].

mod body;
mod cursor;
mod expression;
mod heredoc;
mod template;

use super::error::{Fault, Span};
use super::syntax::{Body, Expression};
use cursor::Cursor;

/// Reads a whole file.
pub(super) fn read(text: &str, source: u16) -> Result<Body, Fault> {
    Cursor::new(text, source).file()
}

/// Reads text that may hold `${...}` and `%{...}`, such as a string of a JSON definition, whose first
/// byte is number `offset` of the file.
pub(super) fn read_template(text: &str, source: u16, offset: u32) -> Result<Expression, Fault> {
    Cursor::inside(text, source, offset).whole_template()
}

/// Reads an expression that is a whole text, as [`read_template`] does.
pub(super) fn read_expression(text: &str, source: u16, offset: u32) -> Result<Expression, Fault> {
    Cursor::inside(text, source, offset).whole_expression()
}

/// Returns the span of no byte at the start of a file.
pub(super) fn start_of(source: u16) -> Span {
    Span { source, start: 0, end: 0 }
}
