//! What the argument parser says: help and version to standard output, mistakes to standard error,
//! as JSON where JSON was asked for.

use std::ffi::OsString;
use std::io::Write as _;

use clap::error::ErrorKind;

use crate::env::Environment;
use crate::error::Code;

/// Prints what the parser said and returns the exit code.
pub fn show(environment: &Environment, arguments: &[OsString], error: &clap::Error) -> Code {
    let wanted = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let text = if super::wants_colour(environment, arguments) {
        error.render().ansi().to_string()
    } else {
        error.render().to_string()
    };
    if wanted {
        let _ = write!(std::io::stdout().lock(), "{text}");
        return Code::Done;
    }
    let text = if wants_json(arguments) { json(error) } else { text };
    let _ = write!(std::io::stderr().lock(), "{text}");
    Code::Usage
}

fn wants_json(arguments: &[OsString]) -> bool {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    words.contains(&"--format=json") || words.windows(2).any(|pair| pair == ["--format", "json"])
}

fn json(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let mut lines = rendered.lines().map(|line| line.trim().trim_start_matches("error: "));
    let message = lines.next().unwrap_or_default().to_owned();
    let hint = lines.find_map(|line| line.strip_prefix("tip: ")).map(str::to_owned);
    let document = serde_json::json!({
        "schema": "plimsoll.error/1",
        "code": Code::Usage as u8,
        "message": message,
        "causes": [],
        "hint": hint,
    });
    format!("{document}\n")
}
