//! Physical lines to logical ones: continuations joined, comments dropped, here-documents read.
//!
//! A logical line remembers which byte of the file each of its bytes came from, so that words found
//! in the joined text still point into the file.
//!
//! Source: the Dockerfile reference, "Format", "Escape" and "Here-Documents"; BuildKit's parser.

use std::ops::Range;

use super::heredoc::{Heredoc, Marker};
use super::source::{Source, Span, Word};

/// One instruction's text, its continuations joined.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// The joined text, from the first character that is no space.
    pub text: String,
    /// Everything from the first line to the last, here-documents included.
    pub span: Span,
    /// Comments that stand directly above, without their `#`.
    pub comments: Vec<String>,
    /// An empty line inside a continuation.
    pub empty_continuation: Option<Span>,
    pieces: Vec<Piece>,
}

/// A run of bytes that stands in the file as it stands in the joined text.
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: usize,
    source: usize,
    line: usize,
}

impl Line {
    /// Returns where a range of the joined text stands in the file.
    pub fn span(&self, range: Range<usize>) -> Span {
        let (start, line) = self.place(range.start);
        if range.is_empty() {
            return Span { start, end: start, line, last_line: line };
        }
        let (last, last_line) = self.place(range.end - 1);
        Span { start, end: last + 1, line, last_line }
    }

    /// Returns a range of the joined text as a word.
    pub fn word(&self, range: Range<usize>) -> Word {
        Word { text: self.text[range.clone()].to_owned(), span: self.span(range) }
    }

    /// Returns the range without the spaces at its ends.
    pub fn trim(&self, range: Range<usize>) -> Range<usize> {
        let text = &self.text[range.clone()];
        let start = range.start + (text.len() - text.trim_start().len());
        start..(start + text.trim().len())
    }

    fn place(&self, at: usize) -> (usize, usize) {
        let index = self.pieces.partition_point(|piece| piece.at <= at).saturating_sub(1);
        self.pieces.get(index).map_or((0, 1), |piece| (piece.source + (at - piece.at), piece.line))
    }

    fn push(&mut self, source: &Source, start: usize, end: usize, number: usize) {
        self.pieces.push(Piece { at: self.text.len(), source: start, line: number });
        self.text.push_str(&source.text()[start..end]);
    }
}

/// Reads logical lines one after the other.
pub(super) struct Lines<'a> {
    source: &'a Source,
    escape: char,
    next: usize,
}

/// A physical line: its number and its bytes without the line end.
struct Physical {
    number: usize,
    range: Range<usize>,
}

impl<'a> Lines<'a> {
    /// Starts at the top of the file.
    pub fn new(source: &'a Source, escape: char) -> Self {
        Self { source, escape, next: 1 }
    }

    /// Returns the next line that holds an instruction.
    pub fn next_line(&mut self) -> Option<Line> {
        let mut line = Line::default();
        loop {
            let physical = self.physical()?;
            let text = &self.source.text()[physical.range.clone()];
            let trimmed = text.trim_start();
            if let Some(comment) = trimmed.strip_prefix('#') {
                line.comments.push(comment.trim().to_owned());
                continue;
            }
            if trimmed.is_empty() {
                line.comments.clear();
                continue;
            }
            let start = physical.range.end - trimmed.len();
            line.span = self.source.span(start..physical.range.end);
            let mut open = self.append(&mut line, start, &physical);
            while open && let Some(physical) = self.physical() {
                open = self.continue_line(&mut line, &physical);
            }
            return Some(line);
        }
    }

    /// Reads the bodies of the here-documents that `markers` open, extending `line` over them.
    ///
    /// # Errors
    /// Gives back the marker whose terminator never comes.
    pub fn heredocs(&mut self, line: &mut Line, markers: Vec<Marker>) -> Result<Vec<Heredoc>, Marker> {
        let mut heredocs = Vec::new();
        for marker in markers {
            let start = self.source.line_range(self.next).start;
            let mut end = start;
            loop {
                let Some(physical) = self.physical() else { return Err(marker) };
                if marker.ends_at(&self.source.text()[physical.range.clone()]) {
                    line.span = line.span.to(self.source.span(physical.range));
                    break;
                }
                end = self.source.line_range(physical.number).end;
            }
            heredocs.push(marker.with_content(self.source, start..end));
        }
        Ok(heredocs)
    }

    /// Takes in a line after a continuation. Returns whether the next one belongs to it too.
    fn continue_line(&self, line: &mut Line, physical: &Physical) -> bool {
        let trimmed = self.source.text()[physical.range.clone()].trim_start();
        if trimmed.starts_with('#') {
            return true;
        }
        if trimmed.is_empty() {
            line.empty_continuation.get_or_insert(self.source.span(physical.range.clone()));
            return true;
        }
        line.span = line.span.to(self.source.span(physical.range.clone()));
        self.append(line, physical.range.start, physical)
    }

    /// Adds the bytes from `start`, without the continuation. Returns whether there was one.
    fn append(&self, line: &mut Line, start: usize, physical: &Physical) -> bool {
        let text = &self.source.text()[start..physical.range.end];
        let kept = self.before_continuation(text);
        line.push(self.source, start, start + kept.unwrap_or(text.len()), physical.number);
        kept.is_some()
    }

    /// Returns the length of `text` before an escape character at its end. An escaped escape character
    /// is none.
    fn before_continuation(&self, text: &str) -> Option<usize> {
        let kept = text.trim_end_matches([' ', '\t']).strip_suffix(self.escape)?;
        (!kept.ends_with(self.escape)).then_some(kept.len())
    }

    fn physical(&mut self) -> Option<Physical> {
        let number = self.next;
        let range = self.source.line_range(number);
        if range.is_empty() {
            return None;
        }
        self.next += 1;
        let text = &self.source.text()[range.clone()];
        let mark = if number == 1 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let end = range.start + text.trim_end_matches(['\r', '\n']).len();
        Some(Physical { number, range: (range.start + mark).min(end)..end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, escape: char) -> Vec<(String, usize, usize)> {
        let source = Source::new("Dockerfile", text.as_bytes());
        let mut reader = Lines::new(&source, escape);
        std::iter::from_fn(|| reader.next_line())
            .map(|line| (line.text, line.span.line, line.span.last_line))
            .collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, usize, usize)]) {
        let expected: Vec<_> = expected.iter().map(|(text, a, b)| ((*text).to_owned(), *a, *b)).collect();
        assert_eq!(lines(text, '\\'), expected);
    }

    #[test]
    fn joins_continuations() {
        check("RUN a \\\n  b\nUSER x\n", &[("RUN a   b", 1, 2), ("USER x", 3, 3)]);
        check("RUN a\\  \t\n b", &[("RUN a b", 1, 2)]);
        check("RUN a \\\r\n b\r\n", &[("RUN a  b", 1, 2)]);
        check("  \\\nRUN a", &[("RUN a", 1, 2)]);
        check("RUN a \\", &[("RUN a ", 1, 1)]);
    }

    #[test]
    fn an_escaped_escape_character_does_not_continue() {
        check("RUN a \\\\\nUSER b", &[("RUN a \\\\", 1, 1), ("USER b", 2, 2)]);
    }

    #[test]
    fn comments_and_empty_lines_inside_continuations_are_dropped() {
        check("RUN a && \\\n  # why\n\n b\n", &[("RUN a &&  b", 1, 4)]);
        check("# top\n\n  # indented\nRUN # no comment\n", &[("RUN # no comment", 4, 4)]);
    }

    #[test]
    fn the_escape_character_can_be_the_backtick() {
        let joined = lines("RUN dir c:\\ `\n /s", '`');
        assert_eq!(joined, [("RUN dir c:\\  /s".to_owned(), 1, 2)]);
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        check("\u{feff}FROM a\n", &[("FROM a", 1, 1)]);
        check("\u{feff}\nFROM a\n", &[("FROM a", 2, 2)]);
        check("\u{feff}", &[]);
    }

    #[test]
    fn words_of_joined_lines_point_into_the_file() {
        let source = Source::new("Dockerfile", b"RUN one \\\n  # c\n  two three\n");
        let line = Lines::new(&source, '\\').next_line().unwrap();
        let at = line.text.find("two").unwrap();
        let word = line.word(at..at + 3);
        assert_eq!(source.slice(word.span), "two");
        assert_eq!(word.span.line, 3);
        assert_eq!(source.slice(line.span(4..at + 3)), "one \\\n  # c\n  two");
    }

    #[test]
    fn comments_directly_above_are_kept() {
        let source = Source::new("Dockerfile", b"# far\n\n# one\n# two\nFROM a\nRUN b");
        let mut reader = Lines::new(&source, '\\');
        assert_eq!(reader.next_line().unwrap().comments, ["one", "two"]);
        assert!(reader.next_line().unwrap().comments.is_empty());
    }
}
