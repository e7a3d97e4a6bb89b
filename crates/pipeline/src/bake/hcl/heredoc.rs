//! Heredocs: `<<EOT` and `<<-EOT`, which takes the common indentation off.

use super::cursor::Cursor;
use super::template::{Part, Parts};
use crate::bake::error::Fault;
use crate::bake::syntax::Expression;

impl Cursor<'_> {
    /// Reads a heredoc up to its marker; the newline after the marker is left.
    pub(super) fn heredoc(&mut self) -> Result<Expression, Fault> {
        let start = self.at;
        self.at += 2;
        let flush = self.take("-");
        let Some(marker) = self.identifier().map(str::to_owned) else {
            return Err(
                self.fault("Invalid heredoc", "A word must follow <<, and the same word alone ends the text")
            );
        };
        let opening = self.span(start);
        if !self.take_newline() {
            return Err(self.fault("Invalid heredoc", "The text of a heredoc starts in the next line"));
        }
        let mut parts = Parts::default();
        let mut at_line_start = true;
        loop {
            if at_line_start && self.at_marker(&marker) {
                break;
            }
            if self.at == self.text.len() {
                return Err(Fault::new(
                    opening,
                    "Unterminated heredoc",
                    format!("No line with {marker} alone ends the text"),
                ));
            }
            let from = self.at;
            let mut text = self.literal(|byte| byte == b'\n');
            if self.take("\n") {
                text.push('\n');
            }
            at_line_start = self.text[..self.at].ends_with('\n');
            parts.text(text, self.span(from));
            let before = self.at;
            self.control(&mut parts)?;
            at_line_start &= self.at == before;
        }
        if flush {
            take_indentation(&mut parts.parts);
        }
        parts.finish(self.span(start))
    }

    fn at_marker(&mut self, marker: &str) -> bool {
        let line = self.rest().split('\n').next().unwrap_or_default();
        let found = line.trim() == marker;
        if found {
            self.at += line.find(marker).unwrap_or(0) + marker.len();
        }
        found
    }
}

/// Takes off the indentation that all lines share; blank lines do not count.
fn take_indentation(parts: &mut [Part]) {
    let mut least = usize::MAX;
    let mut indented = Vec::new();
    let mut at_line_start = true;
    for (number, part) in parts.iter().enumerate() {
        let text = if let Part::Text(text, _) = part { Some(text.as_str()) } else { None };
        if at_line_start {
            match text {
                Some(text) if text.trim_start().is_empty() && text.ends_with('\n') => {}
                Some(text) => {
                    let inner = text.trim_start();
                    least = least.min(text[..text.len() - inner.len()].chars().count());
                    indented.push(number);
                }
                None => least = 0,
            }
        }
        at_line_start = text.is_some_and(|text| text.ends_with('\n'));
    }
    for number in indented {
        if let Part::Text(text, _) = &mut parts[number] {
            *text = text.chars().skip(least).collect();
        }
    }
}
