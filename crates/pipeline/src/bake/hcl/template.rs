//! Templates in quotes and in whole texts: literal parts, `${...}`, `%{if}` and `%{for}`.

use super::cursor::Cursor;
use crate::bake::error::{Fault, Span};
use crate::bake::syntax::{Expression, For, Kind};
use crate::bake::value::Value;

/// A part of a template before its directives are put together.
#[derive(Debug)]
pub(super) enum Part {
    /// Text.
    Text(String, Span),
    /// `${...}`
    Value(Expression),
    /// `%{if ...}`
    If(Expression, Span),
    /// `%{else}`
    Else(Span),
    /// `%{endif}`
    EndIf(Span),
    /// `%{for ...}`
    For((Option<String>, String, Expression), Span),
    /// `%{endfor}`
    EndFor(Span),
}

impl Cursor<'_> {
    /// Reads a text that is a template as a whole.
    pub(super) fn whole_template(&mut self) -> Result<Expression, Fault> {
        let start = self.at;
        let mut parts = Parts::default();
        while self.at < self.text.len() {
            let from = self.at;
            let text = self.literal(|_| false);
            parts.text(text, self.span(from));
            self.control(&mut parts)?;
        }
        parts.finish(self.span(start))
    }

    /// Reads `"..."`.
    pub(super) fn quoted_template(&mut self) -> Result<Expression, Fault> {
        let start = self.at;
        self.at += 1;
        let mut parts = Parts::default();
        loop {
            let from = self.at;
            let text = self.quoted_text()?;
            parts.text(text, self.span(from));
            match self.peek() {
                Some(b'"') => break,
                Some(b'$' | b'%') => self.control(&mut parts)?,
                _ => {
                    let span = self.span_of(start, start + 1);
                    let detail = "A quoted string must be closed in the line in which it starts";
                    return Err(Fault::new(span, "Invalid multi-line string", detail)
                        .hint("close it with \", or use a heredoc (<<EOT) for several lines"));
                }
            }
        }
        self.at += 1;
        parts.finish(self.span(start))
    }

    /// Reads a quoted label: no templates.
    pub(super) fn quoted_word(&mut self) -> Result<String, Fault> {
        let start = self.at;
        self.at += 1;
        let text = self.quoted_text()?;
        match self.take("\"") {
            true => Ok(text),
            false => Err(Fault::new(
                self.span(start),
                "Invalid string literal",
                "Template sequences are not allowed in this string",
            )),
        }
    }

    /// Reads text up to the closing quote, a template sequence or the end of the line.
    fn quoted_text(&mut self) -> Result<String, Fault> {
        let mut text = String::new();
        loop {
            text += &self.literal(|byte| matches!(byte, b'"' | b'\\' | b'\n'));
            match self.peek() {
                Some(b'\\') => text.push(self.escape()?),
                _ => return Ok(text),
            }
        }
    }

    /// Reads text up to a template sequence or a byte that `stops`; `$${` and `%%{` stand for themselves.
    pub(super) fn literal(&mut self, stops: fn(u8) -> bool) -> String {
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let stop = rest.bytes().position(|byte| matches!(byte, b'$' | b'%') || stops(byte));
            let Some(stop) = stop else {
                self.at = self.text.len();
                return text + rest;
            };
            text += &rest[..stop];
            self.at += stop;
            let rest = &rest[stop..];
            if rest.starts_with("${") || rest.starts_with("%{") || stops(rest.as_bytes()[0]) {
                return text;
            }
            let escaped = rest.starts_with("$${") || rest.starts_with("%%{");
            let width = if escaped { 3 } else { 1 };
            text += if escaped { &rest[1..3] } else { &rest[..1] };
            self.at += width;
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.at;
        let code = self.rest()[1..].chars().next();
        self.at += 1 + code.map_or(0, char::len_utf8);
        let character = match code {
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('"') => Some('"'),
            Some('\\') => Some('\\'),
            Some('u') => self.code_point(4),
            Some('U') => self.code_point(8),
            _ => None,
        };
        character.ok_or_else(|| {
            let detail = "The symbols \\n, \\r, \\t, \\\", \\\\, \\uNNNN and \\UNNNNNNNN are known";
            Fault::new(self.span(start), "Invalid escape sequence", detail).hint("write \\\\ for a backslash")
        })
    }

    fn code_point(&mut self, digits: usize) -> Option<char> {
        let code = self.rest().get(..digits)?;
        let value = u32::from_str_radix(code, 16).ok()?;
        self.at += digits;
        char::from_u32(value)
    }

    /// Reads `${...}` or `%{...}` where one stands.
    pub(super) fn control(&mut self, parts: &mut Parts) -> Result<(), Fault> {
        let start = self.at;
        let is_value = self.starts("${");
        if !is_value && !self.starts("%{") {
            return Ok(());
        }
        self.at += 2;
        if self.take("~") {
            parts.trim_end();
        }
        let part = self.deeper(|cursor| {
            cursor.with_newlines(false, |cursor| match is_value {
                true => Ok(Part::Value(cursor.expression()?)),
                false => cursor.directive(start),
            })
        })?;
        self.with_newlines(false, |cursor| {
            cursor.blanks();
            Ok(())
        })?;
        parts.trim_next = self.take("~");
        if !self.take("}") {
            return Err(self
                .fault(
                    "Extra characters after interpolation expression",
                    "Expected a closing brace to end the template sequence",
                )
                .hint("write $${ for the characters ${"));
        }
        parts.push(part);
        Ok(())
    }

    fn directive(&mut self, start: usize) -> Result<Part, Fault> {
        self.blanks();
        let word = self.identifier().unwrap_or_default().to_owned();
        let span = self.span(start);
        match word.as_str() {
            "if" => Ok(Part::If(self.expression()?, span)),
            "else" => Ok(Part::Else(span)),
            "endif" => Ok(Part::EndIf(span)),
            "for" => Ok(Part::For(self.for_intro()?, span)),
            "endfor" => Ok(Part::EndFor(span)),
            _ => Err(Fault::new(
                span,
                "Invalid template directive",
                format!("{word:?} is not a directive; if, else, endif, for and endfor are"),
            )),
        }
    }
}

/// Parts as they are read.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) parts: Vec<Part>,
    pub(super) trim_next: bool,
}

impl Parts {
    /// Adds text, unless it is empty.
    pub(super) fn text(&mut self, text: String, span: Span) {
        let trimmed = if std::mem::take(&mut self.trim_next) { text.trim_start() } else { &text };
        if !text.is_empty() {
            self.parts.push(Part::Text(trimmed.to_owned(), span));
        }
    }

    fn push(&mut self, part: Part) {
        self.parts.push(part);
    }

    fn trim_end(&mut self) {
        if let Some(Part::Text(text, _)) = self.parts.last_mut() {
            text.truncate(text.trim_end().len());
        }
    }

    /// Puts the parts together. A template that is one `${...}` alone is that value, whatever its type.
    pub(super) fn finish(self, span: Span) -> Result<Expression, Fault> {
        let mut rest = self.parts.into_iter();
        let (mut parts, end) = assemble(&mut rest, 0)?;
        if let Some(end) = end {
            return Err(Fault::new(
                end.span(),
                "Unexpected directive",
                "there is nothing here that it would end",
            ));
        }
        match (parts.len(), parts.pop()) {
            (0, _) => Ok(Expression::literal(Value::string(""), span)),
            (1, Some(Expression { kind: kind @ Kind::Literal(Value::String(_)), .. })) => {
                Ok(Expression { kind, span })
            }
            (1, Some(only)) if !matches!(only.kind, Kind::Join(_)) => Ok(only),
            (_, last) => {
                parts.extend(last);
                Ok(Expression { kind: Kind::Template(parts), span })
            }
        }
    }
}

impl Part {
    fn span(&self) -> Span {
        match self {
            Self::Text(_, span) | Self::If(_, span) | Self::Else(span) => *span,
            Self::EndIf(span) | Self::For(_, span) | Self::EndFor(span) => *span,
            Self::Value(expression) => expression.span,
        }
    }
}

/// Puts parts together up to one that ends a directive, which is returned.
fn assemble(
    rest: &mut std::vec::IntoIter<Part>,
    depth: u32,
) -> Result<(Vec<Expression>, Option<Part>), Fault> {
    let mut made = Vec::new();
    while let Some(part) = rest.next() {
        let span = part.span();
        if depth > super::cursor::DEEPEST {
            return Err(Fault::new(span, "Too deep", "template directives lie in each other too deep"));
        }
        match part {
            Part::Text(text, span) => made.push(Expression::literal(Value::string(text), span)),
            Part::Value(expression) => made.push(expression),
            Part::If(condition, span) => made.push(conditional(condition, span, rest, depth)?),
            Part::For((key, value, collection), span) => {
                let (inside, end) = assemble(rest, depth + 1)?;
                if !matches!(end, Some(Part::EndFor(_))) {
                    return Err(Fault::new(span, "Unclosed directive", "an %{endfor} is missing"));
                }
                let result = Expression { kind: Kind::Template(inside), span };
                let of =
                    For { key, value, collection, result_key: None, result, group: false, condition: None };
                made.push(Expression { kind: Kind::Join(Box::new(of)), span });
            }
            end => return Ok((made, Some(end))),
        }
    }
    Ok((made, None))
}

fn conditional(
    condition: Expression,
    span: Span,
    rest: &mut std::vec::IntoIter<Part>,
    depth: u32,
) -> Result<Expression, Fault> {
    let (yes, mut end) = assemble(rest, depth + 1)?;
    let mut no = Vec::new();
    if matches!(end, Some(Part::Else(_))) {
        (no, end) = assemble(rest, depth + 1)?;
    }
    if !matches!(end, Some(Part::EndIf(_))) {
        return Err(Fault::new(span, "Unclosed directive", "an %{endif} is missing"));
    }
    let text = |parts| Expression { kind: Kind::Template(parts), span };
    Ok(Expression { kind: Kind::Conditional(Box::new([condition, text(yes), text(no)])), span })
}
