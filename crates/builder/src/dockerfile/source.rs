//! The text of a Dockerfile and places in it.
//!
//! Every word, flag, instruction and error of this room carries a [`Span`], so that whoever refuses
//! something later (the engine, a lint rule) can still point at it.

use std::ops::Range;

/// A place in a Dockerfile: a range of bytes and the lines it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte, from 0.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// Line of the first byte, from 1.
    pub line: usize,
    /// Line of the last byte, from 1.
    pub last_line: usize,
}

impl Span {
    /// Returns the smallest span that covers both.
    pub fn to(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
            line: self.line.min(other.line),
            last_line: self.last_line.max(other.last_line),
        }
    }
}

/// A word as it stands in the file: variables not expanded, quotes kept where expansion needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Word {
    /// The text, with continuations taken out.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

impl Word {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A Dockerfile's name and text.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    is_utf8: bool,
    /// Where each line starts, in bytes; never empty.
    line_starts: Vec<usize>,
}

impl Source {
    /// Takes in a file. Bytes that are not UTF-8 become U+FFFD; instructions that hold one are refused
    /// by the parser, comments may.
    pub(super) fn new(name: &str, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        Self { name: name.to_owned(), is_utf8: std::str::from_utf8(bytes).is_ok(), text, line_starts }
    }

    /// Returns the name the file goes by in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text of a span, continuations and comments included.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Returns the number of lines; a newline at the end starts none.
    pub fn line_count(&self) -> usize {
        self.line_starts.len() - usize::from(self.text.ends_with('\n') || self.text.is_empty())
    }

    /// Returns a line's text, without its end; `number` counts from 1.
    pub fn line(&self, number: usize) -> &str {
        self.text[self.line_range(number)].trim_end_matches(['\r', '\n'])
    }

    /// Returns line and column of a byte, both from 1; columns count characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let before = self.text.get(self.line_starts[line - 1]..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// Whether the file was UTF-8 throughout.
    pub(super) fn is_utf8(&self) -> bool {
        self.is_utf8
    }

    /// Returns the bytes of a line with its end; empty past the last line.
    pub(super) fn line_range(&self, number: usize) -> Range<usize> {
        let end = self.text.len();
        let start_of = |index: usize| self.line_starts.get(index).copied().unwrap_or(end);
        start_of(number.saturating_sub(1))..start_of(number)
    }

    /// Returns the span of a range of bytes.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let (line, _) = self.line_column(range.start);
        let (last_line, _) = self.line_column(range.end.saturating_sub(1).max(range.start));
        Span { start: range.start, end: range.end, line, last_line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let source = Source::new("Dockerfile", "FROM a\r\nRUN é x\n".as_bytes());
        assert_eq!(source.line_count(), 2);
        assert_eq!(source.line(1), "FROM a");
        assert_eq!(source.line(2), "RUN é x");
        assert_eq!(source.line(9), "");
        let x = source.text().find('x').unwrap();
        assert_eq!(source.line_column(x), (2, 7));
        assert_eq!(source.line_column(usize::MAX), (3, 1));
    }

    #[test]
    fn a_span_knows_its_lines() {
        let source = Source::new("Dockerfile", b"a\nb\nc\n");
        assert_eq!(source.span(0..3), Span { start: 0, end: 3, line: 1, last_line: 2 });
        assert_eq!(source.slice(source.span(2..3)), "b");
    }
}
