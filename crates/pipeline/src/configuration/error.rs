//! What is wrong with a configuration, shown with its line.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// A configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// It was read, and something in it is wrong.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
    /// An override is not of the form `key=value`.
    #[error("--set {text:?} is not an override: {reason}")]
    Override {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to build.
    #[error("there is no service in {label} and no Dockerfile in {}: add a Dockerfile, or [service.NAME] with its `context`", folder.display())]
    NoService {
        /// The configuration's name for people.
        label: String,
        /// The project's folder.
        folder: PathBuf,
    },
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What was probably meant, or another way out.
    pub hint: Option<String>,
    /// Where, if anywhere in particular.
    pub place: Option<Place>,
    /// The configuration's name for people.
    pub label: String,
}

/// A place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The whole line.
    pub source: String,
    /// How many characters of it are meant, at least 1.
    pub width: usize,
}

impl Place {
    /// Returns the place of the bytes `span` of `text`; of several lines, the part on the first.
    pub(crate) fn of(text: &str, span: Range<usize>) -> Self {
        let start = floor(text, span.start.min(text.len()));
        let end = floor(text, span.end.clamp(start, text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            source: text[line_start..line_end].trim_end_matches('\r').to_owned(),
            width: text[start..end.min(line_end)].chars().count().max(1),
        }
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Shows the problem as compilers do: message, place, line, caret, hint.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let Some(place) = &self.place else {
            write!(f, "\n --> {}", self.label)?;
            return self.hint.iter().try_for_each(|hint| write!(f, "\n  = {hint}"));
        };
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        // A tab in the line is a tab before the caret, so that both end in the same column.
        let before = place.source.chars().take(place.column - 1);
        let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "\n{gutter}--> {}:{}:{}\n{gutter} |\n", self.label, place.line, place.column)?;
        write!(f, "{number} | {}\n{gutter} | {indent}{}", place.source, "^".repeat(place.width))?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n{gutter} = {hint}"))
    }
}

fn join(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn points_at_the_word() {
        let text = "a = 1\n\tcontxt = \"é\"\n";
        let problem = Problem {
            message: "unknown key `contxt`".to_owned(),
            hint: Some("did you mean `context`?".to_owned()),
            place: Some(Place::of(text, 7..13)),
            label: "plimsoll.toml".to_owned(),
        };
        let shown = "unknown key `contxt`\n --> plimsoll.toml:2:2\n  |\n2 | \tcontxt = \"é\"\n  | \t^^^^^^\n  = did you mean `context`?";
        assert_eq!(problem.to_string(), shown);
    }

    proptest! {
        #[test]
        fn any_span_has_a_place(text in "[aé\n\r\t]{0,20}", start in 0_usize..60, length in 0_usize..60) {
            let place = Place::of(&text, start..start + length);
            prop_assert!(place.line >= 1 && place.column >= 1 && place.width >= 1);
            prop_assert!(!place.source.contains('\n'));
        }
    }
}
