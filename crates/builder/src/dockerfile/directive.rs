//! Parser directives: `# syntax=`, `# escape=` and `# check=` at the top of the file.
//!
//! They come before anything else; the first line that is none ends them. An unknown one is a comment.
//!
//! Source: the Dockerfile reference, "Parser directives".

use std::sync::Arc;

use super::error::DockerfileError;
use super::source::{Source, Word};

/// What the parser directives say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The image of a frontend to read the file with.
    pub syntax: Option<Word>,
    /// The escape character: `\` or a backtick.
    pub escape: char,
    /// Build checks to skip, and whether the others are errors.
    pub check: Option<Word>,
}

impl Directives {
    pub(super) fn parse(source: &Arc<Source>) -> Result<Self, DockerfileError> {
        let mut directives = Self { syntax: None, escape: '\\', check: None };
        let mut escape = None;
        for number in 1..=source.line_count() {
            let Some((name, value)) = directive(source, number) else { break };
            let place = match &name.text.to_ascii_lowercase()[..] {
                "syntax" => &mut directives.syntax,
                "escape" => &mut escape,
                "check" => &mut directives.check,
                _ => break,
            };
            if let Some(first) = place {
                let message =
                    format!("the parser directive {} is already on line {}", name.text, first.span.line);
                return Err(
                    DockerfileError::new(source.clone(), name.span, message).with_hint("remove one of them")
                );
            }
            *place = Some(value);
        }
        if let Some(escape) = escape {
            directives.escape = match &escape.text[..] {
                "\\" => '\\',
                "`" => '`',
                other => {
                    let message = format!("the escape character cannot be {other}");
                    let error = DockerfileError::new(source.clone(), escape.span, message);
                    return Err(error.with_hint("it is \\ or `"));
                }
            };
        }
        Ok(directives)
    }
}

/// Reads `# name = value`.
fn directive(source: &Source, number: usize) -> Option<(Word, Word)> {
    let text = source.line(number);
    let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
    let (name, value) = text.trim_start().strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if value.is_empty() || !letters || !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return None;
    }
    let word = |part: &str| {
        let start = part.as_ptr() as usize - source.text().as_ptr() as usize;
        Word { text: part.to_owned(), span: source.span(start..start + part.len()) }
    };
    Some((word(name), word(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Directives, DockerfileError> {
        Directives::parse(&Arc::new(Source::new("Dockerfile", text.as_bytes())))
    }

    #[track_caller]
    fn check(text: &str, syntax: Option<&str>, escape: char, checks: Option<&str>) {
        let directives = parse(text).unwrap();
        assert_eq!(directives.syntax.as_ref().map(Word::as_str), syntax, "{text}");
        assert_eq!(directives.escape, escape, "{text}");
        assert_eq!(directives.check.as_ref().map(Word::as_str), checks, "{text}");
    }

    #[test]
    fn known_directives() {
        check("# syntax=docker/dockerfile:1\nFROM a", Some("docker/dockerfile:1"), '\\', None);
        check("#escape=`\nFROM a", None, '`', None);
        check("# escape = \\ \r\nFROM a", None, '\\', None);
        check("#SYNTAX=x\n# Check=skip=all;error=true\n", Some("x"), '\\', Some("skip=all;error=true"));
        check("\u{feff}# syntax=x\n", Some("x"), '\\', None);
        check("", None, '\\', None);
    }

    #[test]
    fn anything_else_ends_them() {
        check("# a comment\n# escape=`\n", None, '\\', None);
        check("\n# escape=`\n", None, '\\', None);
        check("# unknown=x\n# escape=`\n", None, '\\', None);
        check("FROM a\n# escape=`\n", None, '\\', None);
        check("# a b=c\n# escape=`\n", None, '\\', None);
        check("# escape=\n", None, '\\', None);
    }

    #[test]
    fn what_is_refused() {
        let message = |text| parse(text).unwrap_err().to_string();
        insta::assert_snapshot!(message("# escape=x\n"), @r"Dockerfile:1:10: the escape character cannot be x (it is \ or `)");
        insta::assert_snapshot!(
            message("# escape=`\n# escape=\\\n"),
            @"Dockerfile:2:3: the parser directive escape is already on line 1 (remove one of them)"
        );
    }
}
