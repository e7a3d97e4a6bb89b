//! A place in the text, and the small words that are read from there.

use crate::bake::error::{Fault, Span};

/// How deep expressions and blocks may lie in each other.
pub(super) const DEEPEST: u32 = 50;

/// Reads forward through a text.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    source: u16,
    offset: u32,
    depth: u32,
    /// Whether a newline ends what is being read; inside of brackets it does not.
    pub(super) newline_ends: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, source: u16) -> Self {
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Self { text, at, source, offset: 0, depth: 0, newline_ends: true }
    }

    pub(super) fn inside(text: &'a str, source: u16, offset: u32) -> Self {
        Self { text, at: 0, source, offset, depth: 0, newline_ends: false }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn starts(&self, word: &str) -> bool {
        self.rest().starts_with(word)
    }

    /// Takes `word` where it stands next.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let found = self.starts(word);
        if found {
            self.at += word.len();
        }
        found
    }

    /// Takes `word` after blanks.
    pub(super) fn take_token(&mut self, word: &str) -> bool {
        self.blanks();
        self.take(word)
    }

    /// Returns the span from `start` to here.
    pub(super) fn span(&self, start: usize) -> Span {
        self.span_of(start, self.at)
    }

    pub(super) fn span_of(&self, start: usize, end: usize) -> Span {
        let place = |at: usize| self.offset.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
        Span { source: self.source, start: place(start), end: place(end) }
    }

    /// Returns the span of the next character.
    pub(super) fn here(&self) -> Span {
        let width = self.rest().chars().next().map_or(0, char::len_utf8);
        self.span_of(self.at, self.at + width)
    }

    pub(super) fn fault(&self, summary: &'static str, detail: impl Into<String>) -> Fault {
        Fault::new(self.here(), summary, detail)
    }

    /// Skips blanks and comments, and newlines where they mean nothing.
    pub(super) fn blanks(&mut self) {
        self.skip(!self.newline_ends);
    }

    /// Skips blanks, comments and newlines.
    pub(super) fn lines(&mut self) {
        self.skip(true);
    }

    fn skip(&mut self, newlines: bool) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\r') if self.starts("\r\n") && newlines => self.at += 2,
                Some(b'\n') if newlines => self.at += 1,
                Some(b'#') => self.skip_line(),
                Some(b'/') if self.starts("//") => self.skip_line(),
                Some(b'/') if self.starts("/*") => {
                    self.at = self.rest().find("*/").map_or(self.text.len(), |found| self.at + found + 2);
                }
                _ => return,
            }
        }
    }

    fn skip_line(&mut self) {
        self.at = self.rest().find('\n').map_or(self.text.len(), |found| self.at + found);
        if self.text[..self.at].ends_with('\r') {
            self.at -= 1;
        }
    }

    /// Takes a newline.
    pub(super) fn take_newline(&mut self) -> bool {
        self.take("\r\n") || self.take("\n")
    }

    /// Takes an identifier: letters, digits, `_` and `-`, not starting with a digit or `-`.
    pub(super) fn identifier(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        if !(first.is_alphabetic() || first == '_') {
            return None;
        }
        let inside = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
        let end = rest.find(|character| !inside(character)).unwrap_or(rest.len());
        self.at += end;
        Some(&rest[..end])
    }

    /// Runs `read` one level deeper.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(
                self.fault("Too deep", format!("expressions lie in each other more than {DEEPEST} deep"))
            );
        }
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Runs `read` with newlines that end, or do not end, what is read.
    pub(super) fn with_newlines<T>(
        &mut self,
        ends: bool,
        read: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let before = std::mem::replace(&mut self.newline_ends, ends);
        let result = read(self);
        self.newline_ends = before;
        result
    }
}
