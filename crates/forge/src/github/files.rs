//! Files that a step hands values over in. Source: actions/runner, FileCommandManager.cs.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use pipeline::forge::{ForgeError, Outputs};

use super::random_token;
use crate::Environment;

const OUTPUT: &str = "GITHUB_OUTPUT";
const VARIABLES: &str = "GITHUB_ENV";
const SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// The longest summary of a step, in bytes; the host drops a longer one altogether.
const MAX_SUMMARY: usize = 1 << 20;

/// What a cut summary ends with.
const CUT: &str = "\n\n_The rest did not fit; it is in the ledger._\n";

/// Appends `outputs` to the file of outputs, where there is one.
pub(super) fn write_outputs(environment: &Environment, outputs: &Outputs) -> Result<(), ForgeError> {
    write_values(environment, OUTPUT, outputs)
}

/// Appends `variables` to the file of variables, where there is one.
pub(super) fn write_variables(environment: &Environment, variables: &Outputs) -> Result<(), ForgeError> {
    write_values(environment, VARIABLES, variables)
}

fn write_values(environment: &Environment, file: &'static str, values: &Outputs) -> Result<(), ForgeError> {
    let Some(path) = path_in(environment, file) else { return Ok(()) };
    let mut text = String::new();
    for (name, value) in &values.0 {
        text.push_str(&heredoc(name, value)?);
    }
    append(file, &path, &text)
}

/// Appends `markdown` to the summary of the step, where there is one.
pub(super) fn write_summary(environment: &Environment, markdown: &str) -> Result<(), ForgeError> {
    let Some(path) = path_in(environment, SUMMARY) else { return Ok(()) };
    let written = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let room = MAX_SUMMARY.saturating_sub(usize::try_from(written).unwrap_or(usize::MAX));
    append(SUMMARY, &path, &fit(markdown, room))
}

fn path_in(environment: &Environment, variable: &str) -> Option<PathBuf> {
    environment.get(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Returns one value between two lines of a random word, which no value can contain but by chance.
fn heredoc(name: &str, value: &str) -> Result<String, ForgeError> {
    let refused = |reason: &str| ForgeError::Output { name: name.to_owned(), reason: reason.to_owned() };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(refused("its name must be letters, digits, - _ and ."));
    }
    let word = random_token()?;
    if value.contains(&word) {
        return Err(refused("its value contains the word that ends it"));
    }
    Ok(format!("{name}<<{word}\n{value}\n{word}\n"))
}

/// Cuts `markdown` after a line so that it has at most `room` bytes, and says so.
fn fit(markdown: &str, room: usize) -> String {
    if markdown.len() <= room {
        return markdown.to_owned();
    }
    let Some(mut end) = room.checked_sub(CUT.len()) else { return String::new() };
    while !markdown.is_char_boundary(end) {
        end -= 1;
    }
    let lines = markdown[..end].rfind('\n').map_or("", |at| &markdown[..at]);
    format!("{lines}{CUT}")
}

/// Appends in one write: the file is the host's, and other programs of the step may use it too.
fn append(variable: &'static str, path: &Path, text: &str) -> Result<(), ForgeError> {
    let write = |mut file: File| file.write_all(text.as_bytes());
    let opened = OpenOptions::new().append(true).open(path);
    opened.and_then(write).map_err(|source| ForgeError::File {
        action: "write",
        variable,
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variable: &str, path: &Path) -> Environment {
        Environment::from([(variable.to_owned(), path.display().to_string())])
    }

    fn outputs(pairs: &[(&str, &str)]) -> Outputs {
        Outputs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// Reads such a file as the host does.
    fn read_back(text: &str) -> Vec<(String, String)> {
        let mut lines = text.lines();
        let mut found = Vec::new();
        while let Some(first) = lines.next() {
            let (name, word) = first.split_once("<<").unwrap();
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != word).collect();
            found.push((name.to_owned(), value.join("\n")));
        }
        found
    }

    #[test]
    fn values_of_several_lines_come_back_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let environment = environment(OUTPUT, file.path());
        let given = outputs(&[("tags-api", "a\nb=c\nEOF"), ("matrix", "[{\"service\":\"api\"}]")]);
        write_outputs(&environment, &given).unwrap();
        write_outputs(&environment, &outputs(&[("version", "x<<y")])).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        let expected = [given.0, outputs(&[("version", "x<<y")]).0].concat();
        assert_eq!(read_back(&text), expected);
    }

    #[test]
    fn names_that_would_be_read_as_something_else_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for name in ["", "a=b", "a\nb", "a<<b", "a b"] {
            let error =
                write_outputs(&environment(OUTPUT, file.path()), &outputs(&[(name, "x")])).unwrap_err();
            assert!(matches!(error, ForgeError::Output { .. }), "{name:?}: {error}");
        }
        assert_eq!(std::fs::read(file.path()).unwrap(), b"");
    }

    #[test]
    fn a_missing_file_is_an_error_and_a_missing_variable_is_none() {
        let nowhere = Path::new("/nowhere/output");
        let error = write_outputs(&environment(OUTPUT, nowhere), &outputs(&[])).unwrap_err().to_string();
        assert_eq!(error, "cannot write /nowhere/output (GITHUB_OUTPUT)");
        assert!(write_summary(&environment(SUMMARY, nowhere), "x").is_err());
        assert!(write_outputs(&Environment::new(), &outputs(&[("a", "b")])).is_ok());
        assert!(write_summary(&Environment::new(), "x").is_ok());
    }

    #[test]
    fn a_summary_never_passes_the_limit_of_the_step() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let environment = environment(SUMMARY, file.path());
        write_summary(&environment, "first\n").unwrap();
        for _ in 0..3 {
            write_summary(&environment, &"| é | line |\n".repeat(50_000)).unwrap();
        }
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.len() <= MAX_SUMMARY, "{}", text.len());
        assert!(text.starts_with("first\n| é | line |\n"));
        assert!(text.ends_with(&format!("| line |{CUT}")), "{:?}", &text[text.len() - 100..]);
    }
}
