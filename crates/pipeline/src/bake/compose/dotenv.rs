//! `.env` files: `NAME=value` a line, with quotes, comments and variables.

use std::collections::BTreeMap;

use super::interpolate;

/// Reads all lines; values may use what stands above them and what is known already.
pub(super) fn read(text: &str, known: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let Some((name, value)) = line.split_once(['=', ':']) else {
            if let Some(value) = known.get(line) {
                values.insert(line.to_owned(), value.clone());
            }
            continue;
        };
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(format!("line {}: {name:?} is no name of a variable", number + 1));
        }
        let mut value = value.trim().to_owned();
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
        let value = match quote {
            Some(quote) => {
                while closing(&value[1..], quote).is_none() {
                    let (_, more) = lines
                        .next()
                        .ok_or_else(|| format!("line {}: the quotes do not close", number + 1))?;
                    value = format!("{value}\n{more}");
                }
                let inner = &value[1..=closing(&value[1..], quote).unwrap_or(0)];
                match quote {
                    '\'' => inner.to_owned(),
                    _ => expand(&unescape(inner), known, &values)
                        .map_err(|reason| format!("line {}: {reason}", number + 1))?,
                }
            }
            None => {
                let end = value.find(" #").unwrap_or(value.len());
                expand(value[..end].trim_end(), known, &values)
                    .map_err(|reason| format!("line {}: {reason}", number + 1))?
            }
        };
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices()
        .find(|(_, character)| {
            let found = *character == quote && !escaped;
            escaped = *character == '\\' && !escaped;
            found
        })
        .map(|(at, _)| at)
}

fn unescape(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match (character, character == '\\') {
            (_, true) => match rest.next() {
                Some('n') => result.push('\n'),
                Some('r') => result.push('\r'),
                Some('t') => result.push('\t'),
                Some('$') => result.push_str("$$"),
                Some(other @ ('"' | '\\')) => result.push(other),
                Some(other) => result.extend(['\\', other]),
                None => result.push('\\'),
            },
            (other, false) => result.push(other),
        }
    }
    result
}

fn expand(
    text: &str,
    known: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
) -> Result<String, String> {
    interpolate::fill(text, &|name| known.get(name).or_else(|| own.get(name)).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let known = BTreeMap::from([("HOME".to_owned(), "/h".to_owned())]);
        let text =
            "# c\nA=1 # one\nexport B=\"x\\n${A}\"\nC='$A'\nD=$HOME/x\nE=\nF: y\nG=${N:-d}\nM=\"a\nb\"\n";
        let read = read(text, &known).unwrap();
        let shown: Vec<String> = read.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        assert_eq!(
            shown,
            [
                "A=\"1\"",
                "B=\"x\\n1\"",
                "C=\"$A\"",
                "D=\"/h/x\"",
                "E=\"\"",
                "F=\"y\"",
                "G=\"d\"",
                "M=\"a\\nb\""
            ]
        );
        assert!(super::read("A=\"x", &known).is_err());
    }
}
