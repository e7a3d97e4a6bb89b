//! Here-documents of RUN, COPY and ADD.
//!
//! Source: the Dockerfile reference, "Here-Documents"; BuildKit's parser.

use std::ops::Range;

use super::expand::{self, Lexer};
use super::source::{Source, Span};

/// A here-document: text in the Dockerfile that serves as a script or as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The terminator, without quotes; COPY uses it as the file's name.
    pub name: String,
    /// Whether variables in the content are expanded (no part of the name was quoted).
    pub expand: bool,
    /// Whether leading tabs are dropped (`<<-`).
    pub strip_tabs: bool,
    /// The file descriptor before `<<`; 0 where none stands.
    pub descriptor: u32,
    /// The text as it stands in the file, with its last line end.
    pub raw: String,
    /// Where the text stands.
    pub span: Span,
}

impl Heredoc {
    /// Returns the text, without leading tabs where the `<<-` form asked for that.
    pub fn content(&self) -> String {
        if !self.strip_tabs {
            return self.raw.clone();
        }
        self.raw.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// What `<<NAME` on an instruction's line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    name: String,
    expand: bool,
    strip_tabs: bool,
    descriptor: u32,
}

impl Marker {
    /// Reads one word; `None` where it opens no here-document.
    pub fn parse(word: &str) -> Option<Self> {
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let rest = word[digits..].strip_prefix("<<")?;
        let (strip_tabs, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest.is_empty() || rest.contains('<') {
            return None;
        }
        let quoted = Lexer::literal('\\').raw_quotes().words(rest).ok()?;
        let plain = Lexer::literal('\\').words(rest).ok()?;
        let ([quoted], [plain]) = (&quoted[..], &plain[..]) else { return None };
        let descriptor = word[..digits].parse().unwrap_or(0);
        Some(Self { name: plain.clone(), expand: quoted == plain, strip_tabs, descriptor })
    }

    /// Finds the here-documents that an instruction's joined text opens.
    pub fn all_in(line: &str) -> Vec<Self> {
        if !line.contains("<<") {
            return Vec::new();
        }
        let lexer = Lexer::literal('\\').raw_quotes().raw_escapes();
        let words = lexer.words(line).unwrap_or_else(|_: expand::ExpandError| Vec::new());
        words.iter().filter_map(|word| Self::parse(word)).collect()
    }

    /// Returns the terminator.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a line (without its end) is the terminator.
    pub fn ends_at(&self, line: &str) -> bool {
        let line = if self.strip_tabs { line.trim_start_matches('\t') } else { line };
        line == self.name
    }

    /// Returns the document with the text that stands at `range`.
    pub fn with_content(self, source: &Source, range: Range<usize>) -> Heredoc {
        Heredoc {
            raw: source.text()[range.clone()].to_owned(),
            span: source.span(range),
            name: self.name,
            expand: self.expand,
            strip_tabs: self.strip_tabs,
            descriptor: self.descriptor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expected: Option<(&str, bool, bool, u32)>) {
        let marker = Marker::parse(word);
        let marker = marker.as_ref().map(|m| (m.name.as_str(), m.expand, m.strip_tabs, m.descriptor));
        assert_eq!(marker, expected, "{word}");
    }

    #[test]
    fn words_that_open_a_document() {
        check("<<EOF", Some(("EOF", true, false, 0)));
        check("<<-EOF", Some(("EOF", true, true, 0)));
        check("<<\"EOF\"", Some(("EOF", false, false, 0)));
        check("<<'EOF'", Some(("EOF", false, false, 0)));
        check("<<E\"O\"F", Some(("EOF", false, false, 0)));
        check("3<<EOF", Some(("EOF", true, false, 3)));
        check("<<robots.txt", Some(("robots.txt", true, false, 0)));
        check("<<\"a b\"", Some(("a b", false, false, 0)));
        check("<<-\"EOF\"", Some(("EOF", false, true, 0)));
        check("<<$EOF", Some(("$EOF", true, false, 0)));
    }

    #[test]
    fn words_that_do_not() {
        for word in ["<<", "<<-", "<EOF", "<<<EOF", "<<<", "x<<EOF", "<<a<b", "<<'EOF", "EOF", ""] {
            check(word, None);
        }
    }

    #[test]
    fn several_on_a_line() {
        let names = |line| Marker::all_in(line).iter().map(|m| m.name.clone()).collect::<Vec<_>>();
        assert_eq!(names("COPY <<one <<two /dir/"), ["one", "two"]);
        assert_eq!(names("RUN cat <<A 3<<-B | x"), ["A", "B"]);
        assert_eq!(names("RUN echo \"<<A\" '<<B' $((1<<2))"), Vec::<String>::new());
        assert_eq!(names("RUN echo 'open <<A"), Vec::<String>::new());
    }

    #[test]
    fn tabs_are_stripped_where_asked() {
        let source = Source::new("Dockerfile", b"\t\ta\n b\n\tc\n");
        let heredoc = |word| Marker::parse(word).unwrap().with_content(&source, 0..source.text().len());
        assert_eq!(heredoc("<<-X").content(), "a\n b\nc\n");
        assert_eq!(heredoc("<<X").content(), "\t\ta\n b\n\tc\n");
    }
}
