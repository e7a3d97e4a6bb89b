//! Lists in text: one record a line, fields between commas, quotes around what holds either.
//!
//! | about | rule |
//! |---|---|
//! | end of a line | whichever of `\r\n`, `\n`, `\r` comes first in the text holds for all of it |
//! | `#` | starts a comment at the start of a record only; `a#b` is text |
//! | quotes in a list | around a field they hold it together; elsewhere they are text |
//! | quotes in an entry | elsewhere than around a field they are an error |
//! | an entry of a list | its fields joined by commas again: what quotes held together is no longer |
//!
//! Source: csv-parse 7, options `relax_quotes`, `comment`, `comment_no_infix`, `skip_empty_lines`.

use super::error::ListError;
use super::number::trim;

/// Returns the entries of an input: one for each record, trimmed.
///
/// # Errors
/// A quote is opened and not closed.
pub fn entries(text: &str) -> Result<Vec<String>, ListError> {
    let records = records(trim(text), Rules { is_relaxed: true, has_comments: true })?;
    let entries = records.into_iter().map(|record| record.join(",")).filter(|entry| !entry.is_empty());
    Ok(entries.map(|entry| trim(&entry).to_owned()).collect())
}

/// Returns the fields of an entry: those of its first record. An empty entry has none.
///
/// # Errors
/// A quote stands where none may, or is not closed.
pub(super) fn fields(entry: &str) -> Result<Option<Vec<String>>, ListError> {
    if !entry.contains(['"', '\n', '\r']) && !entry.is_empty() {
        return Ok(Some(entry.split(',').map(str::to_owned).collect()));
    }
    let records = records(entry, Rules { is_relaxed: false, has_comments: false })?;
    Ok(records.into_iter().next())
}

#[derive(Clone, Copy)]
struct Rules {
    is_relaxed: bool,
    has_comments: bool,
}

fn records(text: &str, rules: Rules) -> Result<Vec<Vec<String>>, ListError> {
    let mut reader = Reader { text, rules, delimiter: None, ..Reader::default() };
    reader.run()?;
    Ok(reader.records)
}

#[derive(Default)]
struct Reader<'a> {
    text: &'a str,
    rules: Rules,
    delimiter: Option<&'static str>,
    records: Vec<Vec<String>>,
    record: Vec<String>,
    field: String,
    is_quoted: bool,
    was_quoted: bool,
    is_comment: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { is_relaxed: true, has_comments: true }
    }
}

impl Reader<'_> {
    fn run(&mut self) -> Result<(), ListError> {
        let text = self.text;
        let mut at = 0;
        while let Some(character) = text[at..].chars().next() {
            if !self.is_quoted && self.delimiter.is_none() {
                self.delimiter = delimiter_at(&text[at..]);
            }
            let mut length = character.len_utf8();
            if character == '"' && !self.is_comment {
                let rest = &text[at + 1..];
                if self.is_quoted && rest.starts_with('"') {
                    self.field.push('"');
                    at += 2;
                    continue;
                }
                if self.quote(rest)? {
                    at += 1;
                    continue;
                }
            }
            if self.is_quoted {
                self.field.push(character);
            } else if let Some(delimiter) = self.delimiter.filter(|end| text[at..].starts_with(*end)) {
                self.end_of_line();
                length = delimiter.len();
            } else if self.is_comment {
                // It ends with the line.
            } else if character == '#' && self.rules.has_comments && self.is_at_start() {
                self.is_comment = true;
            } else if character == ',' {
                self.end_of_field();
            } else {
                self.field.push(character);
            }
            at += length;
        }
        if self.is_quoted {
            return Err(ListError::NotClosed { text: self.text.to_owned() });
        }
        if self.was_quoted || !self.is_at_start() {
            self.end_of_field();
            self.records.push(std::mem::take(&mut self.record));
        }
        Ok(())
    }

    /// Takes a quote; `false` where it is text.
    fn quote(&mut self, rest: &str) -> Result<bool, ListError> {
        if self.is_quoted {
            let ends_record = match self.delimiter {
                Some(delimiter) => rest.starts_with(delimiter),
                None => {
                    self.delimiter = delimiter_at(rest);
                    self.delimiter.is_some()
                }
            };
            let ends = rest.is_empty() || rest.starts_with(',') || ends_record;
            if ends || (self.rules.has_comments && rest.starts_with('#')) {
                (self.is_quoted, self.was_quoted) = (false, true);
                return Ok(true);
            }
            if !self.rules.is_relaxed {
                return Err(ListError::AfterQuote { text: self.text.to_owned() });
            }
            (self.is_quoted, self.was_quoted) = (false, true);
            self.field.insert(0, '"');
            return Ok(false);
        }
        if self.field.is_empty() {
            self.is_quoted = true;
            return Ok(true);
        }
        if self.rules.is_relaxed { Ok(false) } else { Err(ListError::InField { text: self.text.to_owned() }) }
    }

    fn is_at_start(&self) -> bool {
        self.record.is_empty() && self.field.is_empty()
    }

    fn end_of_field(&mut self) {
        self.record.push(std::mem::take(&mut self.field));
        self.was_quoted = false;
    }

    fn end_of_line(&mut self) {
        let is_empty = !self.was_quoted && self.is_at_start();
        if !is_empty {
            self.end_of_field();
            self.records.push(std::mem::take(&mut self.record));
        }
        self.is_comment = false;
    }
}

fn delimiter_at(text: &str) -> Option<&'static str> {
    ["\r\n", "\n", "\r"].into_iter().find(|delimiter| text.starts_with(*delimiter))
}

#[cfg(test)]
mod tests {
    use super::{entries, fields};

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(entries(text).unwrap(), expected);
    }

    #[test]
    fn entries_are_records() {
        check("a\n\n b \nc", &["a", "b", "c"]);
        check("a,b\nc", &["a,b", "c"]);
        check("# note\na#b\n #c", &["a#b", "#c"]);
        check("type=raw,\"value=a,b\"", &["type=raw,value=a,b"]);
        check("\"a\nb\"", &["a\nb"]);
        check("a\"b", &["a\"b"]);
        check("\"a\"b", &["\"a\"b"]);
        check("a\r\nb", &["a", "b"]);
        check("", &[]);
    }

    #[test]
    fn a_quote_that_stays_open_is_an_error() {
        assert!(entries("\"a").is_err());
        assert!(fields("\"a").is_err());
        assert!(fields("value=\"a\"").is_err());
        assert!(fields("\"a\"b").is_err());
    }

    #[test]
    fn fields_of_an_entry() {
        assert_eq!(fields("type=raw,\"value=a,b\"").unwrap().unwrap(), ["type=raw", "value=a,b"]);
        assert_eq!(fields("a,,b,").unwrap().unwrap(), ["a", "", "b", ""]);
        assert_eq!(fields("a\nb").unwrap().unwrap(), ["a"]);
        assert_eq!(fields("").unwrap(), None);
    }
}
