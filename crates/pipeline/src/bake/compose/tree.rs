//! Nodes of compose files with the file they are from, and how they are read as what a key takes.

use crate::bake::error::{Fault, Source, Span};
use crate::yaml::{Node, Value};

/// A node whose file is known: its numbers survive merging.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) value: Branch,
    pub(super) span: Span,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Branch {
    Nothing,
    /// Text and whether it was in quotes.
    Scalar(String, bool),
    List(Vec<Tree>),
    Map(Vec<(String, Span, Tree)>),
}

impl Tree {
    /// Returns a mapping of nothing.
    pub(super) fn empty(span: Span) -> Self {
        Self { value: Branch::Map(Vec::new()), span }
    }

    /// Takes over what was read, with variables filled in.
    pub(super) fn of(
        node: &Node,
        number: u16,
        starts: &[usize],
        fill: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Self, Fault> {
        let span = span_of(node, number, starts);
        let value = match &node.value {
            Value::Plain(_) if node.is_null() => Branch::Nothing,
            Value::Plain(text) | Value::Quoted(text) => {
                let filled =
                    fill(text).map_err(|reason| Fault::new(span, "Invalid interpolation", reason))?;
                Branch::Scalar(filled, matches!(node.value, Value::Quoted(_)))
            }
            Value::Sequence(items) => Branch::List(
                items.iter().map(|item| Self::of(item, number, starts, fill)).collect::<Result<_, _>>()?,
            ),
            Value::Mapping(entries) => {
                let entry = |(key, value): &(Node, Node)| {
                    let key_span = span_of(key, number, starts);
                    let name =
                        key.text().ok_or_else(|| Fault::new(key_span, "Invalid key", "a key is a word"))?;
                    Ok((name.to_owned(), key_span, Self::of(value, number, starts, fill)?))
                };
                Branch::Map(entries.iter().map(entry).collect::<Result<_, Fault>>()?)
            }
        };
        Ok(Self { value, span })
    }

    /// Returns the value under a key.
    pub(super) fn get(&self, key: &str) -> Option<&Tree> {
        self.entries().iter().find(|(name, ..)| name == key).map(|(.., tree)| tree)
    }

    /// Returns the entries of a mapping; nothing for another node.
    pub(super) fn entries(&self) -> &[(String, Span, Tree)] {
        match &self.value {
            Branch::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.value, Branch::Nothing)
    }

    /// Returns a fault at this node: `path must be ...`.
    pub(super) fn must_be(&self, path: &str, what: &str) -> Fault {
        Fault::new(self.span, "Invalid compose file", format!("{path} must be {what}"))
    }

    /// Returns the text of a scalar; numbers and truth values as they are printed.
    pub(super) fn text(&self, path: &str) -> Result<String, Fault> {
        match &self.value {
            Branch::Scalar(text, true) => Ok(text.clone()),
            Branch::Scalar(text, false) => Ok(printed(text)),
            _ => Err(self.must_be(path, "a string")),
        }
    }

    /// Returns the elements of a list of texts; a single text is a list of one where `single` says so.
    pub(super) fn texts(&self, path: &str) -> Result<Vec<String>, Fault> {
        match &self.value {
            Branch::List(items) => {
                items.iter().enumerate().map(|(at, item)| item.text(&format!("{path}.{at}"))).collect()
            }
            Branch::Nothing => Ok(Vec::new()),
            _ => Err(self.must_be(path, "a list")),
        }
    }

    /// Returns names and values of a mapping, or of a list of `NAME=VALUE`; a name alone has no value.
    pub(super) fn pairs(&self, path: &str) -> Result<Vec<(String, Option<String>)>, Fault> {
        match &self.value {
            Branch::Nothing => Ok(Vec::new()),
            Branch::Map(entries) => entries
                .iter()
                .map(|(name, _, tree)| match tree.is_nothing() {
                    true => Ok((name.clone(), None)),
                    false => Ok((name.clone(), Some(tree.text(&format!("{path}.{name}"))?))),
                })
                .collect(),
            Branch::List(items) => items
                .iter()
                .enumerate()
                .map(|(at, item)| {
                    let text = item.text(&format!("{path}.{at}"))?;
                    Ok(match text.split_once('=') {
                        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                        None => (text, None),
                    })
                })
                .collect(),
            Branch::Scalar(..) => Err(self.must_be(path, "a mapping or a list of NAME=VALUE")),
        }
    }

    /// Returns a truth value.
    pub(super) fn truth(&self, path: &str) -> Result<bool, Fault> {
        match &self.value {
            Branch::Scalar(text, _) => {
                crate::bake::entries::truth(text).map_err(|_| self.must_be(path, "true or false"))
            }
            _ => Err(self.must_be(path, "true or false")),
        }
    }
}

/// Returns a number as a program prints it: `1.10` is 1.1, `0x1F` is 31.
fn printed(text: &str) -> String {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_float =
        unsigned.contains('.') && unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)];
    let whole = radix
        .iter()
        .find_map(|(prefix, radix)| i64::from_str_radix(unsigned.strip_prefix(prefix)?, *radix).ok());
    match (text.parse::<f64>(), whole) {
        (_, Some(whole)) => format!("{}{whole}", if text.starts_with('-') { "-" } else { "" }),
        (Ok(number), _) if is_float && unsigned.len() > 1 => number.to_string(),
        _ if unsigned.len() < text.len() && unsigned.parse::<u64>().is_ok() => {
            text.trim_start_matches('+').to_owned()
        }
        _ => match text {
            "True" | "TRUE" => "true".to_owned(),
            "False" | "FALSE" => "false".to_owned(),
            _ => text.to_owned(),
        },
    }
}

fn span_of(node: &Node, number: u16, starts: &[usize]) -> Span {
    let start = starts.get(node.line - 1).copied().unwrap_or(0) + node.column - 1;
    let width = node.text().map_or(1, |text| text.lines().next().unwrap_or_default().len().max(1));
    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Span { source: number, start: place(start), end: place(start + width) }
}

/// Returns where each line of a source starts.
pub(super) fn line_starts(source: &Source) -> Vec<usize> {
    std::iter::once(0).chain(source.text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}
