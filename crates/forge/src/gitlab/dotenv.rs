//! Values for later jobs, as a dotenv report.
//!
//! The host refuses the whole file where one line is not to its liking: names of letters, digits and
//! `_`; values of one line without blanks or quotes; at most 5 KB; at most 20 variables in the
//! smallest subscription. So the path of the ledger comes first, and what does not fit stays in there.
//!
//! Source: GitLab's documentation of `artifacts:reports:dotenv`.

use std::path::Path;

use pipeline::forge::{ForgeError, Outputs};

/// The file in our folder of the project.
pub(super) const FILE: &str = "outputs.env";

const MAX_BYTES: usize = 5 * 1024;
const MAX_VARIABLES: usize = 20;

/// Values that are written before all others, in order.
const FIRST: [&str; 3] = ["ledger", "version", "skipped"];

/// Writes `outputs` to `path`, over those of an earlier command of the job; returns the names of
/// what the report cannot hold.
pub(super) fn write(path: &Path, outputs: &Outputs) -> Result<Vec<String>, ForgeError> {
    let earlier = std::fs::read_to_string(path).unwrap_or_default();
    let (text, left_out) = render(&earlier, outputs);
    super::write(path, &text)?;
    Ok(left_out)
}

fn render(earlier: &str, outputs: &Outputs) -> (String, Vec<String>) {
    let mut values: Vec<(String, String)> =
        outputs.0.iter().map(|(name, value)| (variable(name), value.trim_end().replace('\n', ","))).collect();
    for line in earlier.lines() {
        if let Some((name, value)) =
            line.split_once('=').filter(|(name, _)| !values.iter().any(|(n, _)| n == name))
        {
            values.push((name.to_owned(), value.to_owned()));
        }
    }
    let rank = |name: &str| FIRST.iter().position(|first| variable(first) == name).unwrap_or(FIRST.len());
    values.sort_by_key(|(name, _)| rank(name));
    let (mut text, mut count, mut left_out) = (String::new(), 0, Vec::new());
    for (name, value) in values {
        let line = format!("{name}={value}\n");
        if count < MAX_VARIABLES && text.len() + line.len() <= MAX_BYTES && is_plain(&value) {
            text.push_str(&line);
            count += 1;
        } else {
            left_out.push(name);
        }
    }
    (text, left_out)
}

/// Returns `PLIMSOLL_DIGEST_WEB_UI` for `digest-web-ui`.
fn variable(output: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("PLIMSOLL_{}", output.chars().map(word).collect::<String>())
}

fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && !value
            .contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(pairs: &[(&str, &str)]) -> Outputs {
        Outputs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[track_caller]
    fn check(pairs: &[(&str, &str)], text: &str, left_out: &[&str]) {
        let (written, dropped) = render("", &outputs(pairs));
        assert_eq!(
            (written.as_str(), dropped),
            (text, left_out.iter().map(|name| (*name).to_owned()).collect())
        );
    }

    #[test]
    fn what_the_host_would_refuse_is_left_out() {
        check(
            &[
                ("version", "1.2.3"),
                ("matrix", "[{\"a\":1}]"),
                ("tags-web-ui", "a\nb"),
                ("ledger", ".plimsoll/l"),
            ],
            "PLIMSOLL_LEDGER=.plimsoll/l\nPLIMSOLL_VERSION=1.2.3\nPLIMSOLL_TAGS_WEB_UI=a,b\n",
            &["PLIMSOLL_MATRIX"],
        );
        check(
            &[("a", "x y"), ("b", ""), ("c", "it's"), ("d", "$X")],
            "",
            &["PLIMSOLL_A", "PLIMSOLL_B", "PLIMSOLL_C", "PLIMSOLL_D"],
        );
    }

    #[test]
    fn limits_hold_and_the_ledger_comes_first() {
        let names: Vec<String> = (0..40).map(|number| format!("digest-{number}")).collect();
        let mut pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "sha256:0")).collect();
        pairs.push(("ledger", "l"));
        let (text, left_out) = render("", &outputs(&pairs));
        assert!(text.starts_with("PLIMSOLL_LEDGER=l\n"));
        assert_eq!((text.lines().count(), left_out.len()), (20, 21));
        let long = "x".repeat(3000);
        let (text, left_out) = render("", &outputs(&[("a", &long), ("b", &long), ("c", "y")]));
        assert!(text.len() <= MAX_BYTES && text.ends_with("PLIMSOLL_C=y\n"));
        assert_eq!(left_out, ["PLIMSOLL_B"]);
    }

    #[test]
    fn a_later_command_of_the_job_adds_and_replaces() {
        let (text, _) = render("PLIMSOLL_VERSION=old\nPLIMSOLL_A=1\n", &outputs(&[("version", "new")]));
        assert_eq!(text, "PLIMSOLL_VERSION=new\nPLIMSOLL_A=1\n");
    }
}
