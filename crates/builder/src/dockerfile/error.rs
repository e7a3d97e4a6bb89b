//! What is wrong with a Dockerfile, where, and what to try: one line for logs, a snippet for people.

use std::fmt::Write as _;
use std::sync::Arc;

use super::source::{Source, Span};

/// Something in a Dockerfile cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}:{}: {message}{}", self.file(), self.line(), self.column(), self.hint_in_brackets())]
pub struct DockerfileError {
    source_text: Arc<Source>,
    /// Where it stands.
    pub span: Span,
    /// What is wrong; lower case.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

impl DockerfileError {
    /// Returns an error about the place `span` of `source`.
    pub fn new(source: Arc<Source>, span: Span, message: impl Into<String>) -> Self {
        Self { source_text: source, span, message: message.into(), hint: None }
    }

    /// Returns the error with something to try.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the name of the file.
    pub fn file(&self) -> &str {
        self.source_text.name()
    }

    /// Returns the line, from 1.
    pub fn line(&self) -> usize {
        self.source_text.line_column(self.span.start).0
    }

    /// Returns the column, from 1, in characters.
    pub fn column(&self) -> usize {
        self.source_text.line_column(self.span.start).1
    }

    /// Returns the error with the line it is about and a mark under the place, as plain text.
    pub fn render(&self) -> String {
        let number = self.line().to_string();
        let margin = " ".repeat(number.len());
        let snippet = Snippet::of(&self.source_text, self.span);
        let mut text = String::new();
        let _ = writeln!(text, "error: {}", self.message);
        let _ = writeln!(text, "{margin}--> {}:{number}:{}", self.file(), self.column());
        let _ = writeln!(text, "{margin} |");
        let _ = writeln!(text, "{number} | {}", snippet.line);
        let _ = writeln!(text, "{margin} | {}{}", " ".repeat(snippet.indent), "^".repeat(snippet.width));
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{margin} = help: {hint}");
        }
        text
    }

    fn hint_in_brackets(&self) -> String {
        self.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default()
    }
}

/// One line of source as it is shown: tabs widened, control characters made harmless, long lines cut.
struct Snippet {
    line: String,
    indent: usize,
    width: usize,
}

/// Characters shown before the mark and in all, where a line is longer than that.
const BEFORE: usize = 60;
const SHOWN: usize = 120;

impl Snippet {
    fn of(source: &Source, span: Span) -> Self {
        let (number, column) = source.line_column(span.start);
        let line = source.line(number);
        let first = column - 1;
        let covered = source.slice(span).lines().next().unwrap_or_default().chars().count();
        let skipped = if line.chars().count() > SHOWN { first.saturating_sub(BEFORE) } else { 0 };
        let shown = line.chars().skip(skipped).take(SHOWN);

        let mut snippet = Self { line: String::new(), indent: 0, width: 0 };
        if skipped > 0 {
            snippet.line.push_str("... ");
            snippet.indent = 4;
        }
        for (index, character) in shown.enumerate().map(|(index, character)| (index + skipped, character)) {
            let drawn = if character == '\t' { 4 } else { 1 };
            match character {
                '\t' => snippet.line.push_str("    "),
                _ if character.is_control() => snippet.line.push(char::REPLACEMENT_CHARACTER),
                _ => snippet.line.push(character),
            }
            if index < first {
                snippet.indent += drawn;
            } else if index < first + covered {
                snippet.width += drawn;
            }
        }
        snippet.line.truncate(snippet.line.trim_end().len());
        snippet.width = snippet.width.max(1);
        snippet
    }
}

/// Returns the candidate that `word` is most likely a slip of, if one is near enough.
pub(super) fn suggestion<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    let limit = (lower.chars().count() / 3).clamp(1, 3);
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_at(text: &str, word: &str) -> DockerfileError {
        let source = Arc::new(Source::new("app/Dockerfile", text.as_bytes()));
        let start = text.find(word).unwrap();
        let span = source.span(start..start + word.len());
        DockerfileError::new(source, span, "unknown instruction CPOY").with_hint("did you mean COPY?")
    }

    #[test]
    fn one_line_for_logs() {
        assert_eq!(
            error_at("FROM scratch\nCPOY . /app\n", "CPOY").to_string(),
            "app/Dockerfile:2:1: unknown instruction CPOY (did you mean COPY?)"
        );
    }

    #[test]
    fn a_snippet_for_people() {
        insta::assert_snapshot!(error_at("FROM scratch\n\tCPOY . /app\n", "CPOY").render(), @r"
        error: unknown instruction CPOY
         --> app/Dockerfile:2:2
          |
        2 |     CPOY . /app
          |     ^^^^
          = help: did you mean COPY?
        ");
    }

    #[test]
    fn long_lines_are_cut_around_the_mark_and_controls_are_harmless() {
        let text = format!("RUN {}\u{1b}[31m CPOY {}", "a".repeat(300), "b".repeat(300));
        let rendered = error_at(&text, "CPOY").render();
        assert!(rendered.lines().all(|line| line.chars().count() < 140), "{rendered}");
        assert!(!rendered.contains('\u{1b}'), "{rendered}");
        let lines: Vec<&str> = rendered.lines().collect();
        assert_eq!(lines[3].find("CPOY").map(|at| lines[3][..at].chars().count()), lines[4].find('^'));
    }

    #[test]
    fn suggestions_are_near_or_none() {
        let names = ["COPY", "CMD", "RUN", "ENTRYPOINT"];
        assert_eq!(suggestion("CPOY", &names), Some("COPY"));
        assert_eq!(suggestion("rnu", &names), Some("RUN"));
        assert_eq!(suggestion("ENTRPOINT", &names), Some("ENTRYPOINT"));
        assert_eq!(suggestion("FETCH", &names), None);
    }
}
