//! Texts with expressions in them: `ghcr.io/${{ github.repository }}`.

use super::{Expression, InvalidExpression, Scope, Unknown, text_of};

/// A text with expressions in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Its parts, in order.
    pub pieces: Vec<Piece>,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// What stands there.
    Text(String),
    /// What is computed.
    Expression(Expression),
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// An expression that does not end, or is none.
    pub fn parse(text: &str) -> Result<Self, InvalidExpression> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${{") {
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            let inner = &rest[at + 3..];
            let end = end_of(inner).ok_or_else(|| InvalidExpression {
                text: inner.chars().take(100).collect(),
                reason: "${{ has no }}".to_owned(),
            })?;
            pieces.push(Piece::Expression(Expression::parse(&inner[..end])?));
            rest = &inner[end + 2..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// Reads what stands after `if:`, where the braces may be missing.
    ///
    /// # Errors
    /// As for [`Template::parse`].
    pub fn parse_condition(text: &str) -> Result<Self, InvalidExpression> {
        if text.contains("${{") {
            return Self::parse(text);
        }
        Ok(Self { pieces: vec![Piece::Expression(Expression::parse(text)?)] })
    }

    /// Returns the text with its expressions evaluated.
    ///
    /// # Errors
    /// [`Unknown`] where it depends on what only a run knows.
    pub fn render(&self, scope: &dyn Scope) -> Result<String, Unknown> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Expression(expression) => text.push_str(&text_of(&expression.evaluate(scope)?)),
            }
        }
        Ok(text)
    }

    /// Returns the expressions in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Expression(expression) => Some(expression),
            Piece::Text(_) => None,
        })
    }
}

/// Returns where `}}` ends an expression; in quotes it does not.
fn end_of(text: &str) -> Option<usize> {
    let mut is_quoted = false;
    for (at, character) in text.char_indices() {
        match character {
            '\'' => is_quoted = !is_quoted,
            '}' if !is_quoted && text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    None
}
