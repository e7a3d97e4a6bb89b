//! YAML that others wrote (compose files, workflows), as a tree in which every node knows its line
//! and column.
//!
//! Anchors and merge keys (`<<`) are resolved here. What a document may grow to is bounded, so that
//! a page of anchors cannot become a gigabyte. What a scalar means (number, time, path) is for the
//! reader to say; this room only knows the words of the core schema for null and the booleans.
//! Source: YAML 1.2.2, chapters 3, 6 and 10.3; <https://yaml.org/type/merge.html>.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// The most nodes that a document may have once its anchors are resolved.
const MOST_NODES: usize = 200_000;

/// How deep collections may lie in each other.
const DEEPEST: usize = 100;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text without quotes; what it means depends on the reader.
    Plain(String),
    /// Text in quotes or in a block: always a string.
    Quoted(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order of the file; no key stands twice.
    Mapping(Vec<(Node, Node)>),
}

/// A document cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct YamlError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: String,
}

impl Node {
    /// Returns the value under a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    /// Returns the keys and values of a mapping; nothing for another node.
    pub fn entries(&self) -> &[(Node, Node)] {
        match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the elements of a sequence; nothing for another node.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    /// Returns the text of a scalar as it is written, `null` and numbers included.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Plain(text) | Value::Quoted(text) => Some(text),
            _ => None,
        }
    }

    /// Whether nothing is written here, or a word for nothing.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Plain(text) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Returns the truth value of an unquoted `true` or `false`.
    pub fn truth(&self) -> Option<bool> {
        match &self.value {
            Value::Plain(text) if matches!(text.as_str(), "true" | "True" | "TRUE") => Some(true),
            Value::Plain(text) if matches!(text.as_str(), "false" | "False" | "FALSE") => Some(false),
            _ => None,
        }
    }

    /// Returns what kind of node it is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Mapping(_) => "a mapping",
            Value::Sequence(_) => "a list",
            Value::Plain(_) if self.is_null() => "nothing",
            Value::Plain(_) | Value::Quoted(_) => "a scalar",
        }
    }
}

/// Reads the first document of `text`; an empty text is a null node.
///
/// # Errors
/// It is no YAML, an anchor is unknown, a key stands twice, or the document grows beyond what is allowed.
pub fn read(text: &str) -> Result<Node, YamlError> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(node(Value::Plain(String::new()), span)),
            Event::DocumentStart(_) | Event::StreamStart | Event::Nothing | Event::DocumentEnd => {}
            other => return reader.node(other, span, 0),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(YamlError {
                line: error.marker().line().max(1),
                column: error.marker().col() + 1,
                reason: error.info().to_owned(),
            }),
            None => Err(YamlError { line: 1, column: 1, reason: "the document does not end".to_owned() }),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, YamlError> {
        if depth > DEEPEST {
            return Err(wrong(span, format!("collections lie in each other more than {DEEPEST} deep")));
        }
        self.count(span, 1)?;
        let before = self.nodes;
        let (anchor, made) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                let is_string = tag.is_some_and(|tag| tag.suffix == "str");
                let text = text.into_owned();
                let value = match style {
                    ScalarStyle::Plain if !is_string => Value::Plain(text),
                    _ => Value::Quoted(text),
                };
                (anchor, node(value, span))
            }
            Event::SequenceStart(anchor, _) => (anchor, node(Value::Sequence(self.items(depth)?), span)),
            Event::MappingStart(anchor, _) => (anchor, node(Value::Mapping(self.entries(depth)?), span)),
            other => return Err(wrong(span, format!("unexpected {other:?}"))),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (made.clone(), self.nodes - before + 1));
        }
        Ok(made)
    }

    /// Takes `more` nodes from what the document may have.
    fn count(&mut self, span: Span, more: usize) -> Result<(), YamlError> {
        self.nodes += more;
        if self.nodes > MOST_NODES {
            return Err(wrong(
                span,
                format!("the document has more than {MOST_NODES} nodes with its anchors resolved"),
            ));
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, YamlError> {
        let Some((known, size)) = self.anchors.get(&anchor).cloned() else {
            return Err(wrong(span, "the anchor holds itself".to_owned()));
        };
        self.count(span, size)?;
        Ok(Node { line: span.start.line(), column: span.start.col() + 1, ..known })
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(items);
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, YamlError> {
        let mut entries = Entries::default();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries.finish());
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            entries.add(key, value)?;
        }
    }
}

/// A mapping under way: what it says itself, and what it merges from others.
#[derive(Default)]
struct Entries {
    own: Vec<(Node, Node)>,
    lines: BTreeMap<String, usize>,
    merged: Vec<(Node, Node)>,
}

impl Entries {
    fn add(&mut self, key: Node, value: Node) -> Result<(), YamlError> {
        let at = (key.line, key.column);
        let refuse = |reason: String| YamlError { line: at.0, column: at.1, reason };
        if key.value == Value::Plain("<<".to_owned()) {
            return self
                .merge(value)
                .map_err(|()| refuse("<< takes a mapping or a list of mappings".to_owned()));
        }
        let before = key.text().and_then(|name| self.lines.insert(name.to_owned(), key.line));
        if let Some(line) = before {
            return Err(refuse(format!("a key of this name stands in line {line} already")));
        }
        self.own.push((key, value));
        Ok(())
    }

    fn merge(&mut self, value: Node) -> Result<(), ()> {
        let sources = match value.value {
            Value::Sequence(items) => items,
            _ => vec![value],
        };
        for source in sources {
            let Value::Mapping(entries) = source.value else { return Err(()) };
            self.merged.extend(entries);
        }
        Ok(())
    }

    /// Own keys win over merged ones, and what is merged earlier over what is merged later.
    fn finish(mut self) -> Vec<(Node, Node)> {
        for (key, value) in self.merged {
            let Some(name) = key.text() else { continue };
            if !self.lines.contains_key(name) {
                self.lines.insert(name.to_owned(), key.line);
                self.own.push((key, value));
            }
        }
        self.own
    }
}

fn node(value: Value, span: Span) -> Node {
    Node { value, line: span.start.line().max(1), column: span.start.col() + 1 }
}

fn wrong(span: Span, reason: String) -> YamlError {
    YamlError { line: span.start.line().max(1), column: span.start.col() + 1, reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn show(node: &Node) -> String {
        match &node.value {
            Value::Plain(text) => text.clone(),
            Value::Quoted(text) => format!("{text:?}"),
            Value::Sequence(items) => {
                format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "))
            }
            Value::Mapping(entries) => {
                let entry = |(key, value): &(Node, Node)| format!("{}={}", show(key), show(value));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let shown = match read(text) {
            Ok(node) => show(&node),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn trees() {
        check("", "");
        check(
            "a: 1\nb: '1'\nc: [x, \"y\"]\nd:\n  - e: !!str 3\n  - ~\n",
            "{a=1 b=\"1\" c=[x \"y\"] d=[{e=\"3\"} ~]}",
        );
        check("a: |\n  one\n  two\n", "{a=\"one\\ntwo\\n\"}");
    }

    #[test]
    fn anchors_and_merge_keys() {
        check("a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3\n", "{a={k=1 l=2} b={l=3 k=1}}");
        check("a: &x {k: 1}\nb: &y {k: 2, m: 3}\nc: {<<: [*x, *y]}\n", "{a={k=1} b={k=2 m=3} c={k=1 m=3}}");
        check("a: {<<: 1}\n", "line 1, column 5: << takes a mapping or a list of mappings");
    }

    #[test]
    fn places_of_nodes_and_mistakes() {
        let read_one = read("a: 1\nb:\n  ccc:  [x]\n").unwrap();
        let inner = read_one.get("b").unwrap().get("ccc").unwrap();
        assert_eq!((inner.line, inner.column), (3, 9));
        check("a: 1\na: 2\n", "line 2, column 1: a key of this name stands in line 1 already");
        assert_eq!(read("a: [1\nb: 2").unwrap_err().line, 2);
    }

    #[test]
    fn growth_is_bounded() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", "));
        }
        assert!(read(&text).unwrap_err().reason.contains("more than 200000 nodes"));
        assert!(read(&"[".repeat(5000)).is_err());
        check("a: &a [*a]\n", "line 1, column 8: the anchor holds itself");
    }

    proptest! {
        #[test]
        fn foreign_bytes_do_not_panic(text in "[-a-z0-9:&*<{}\\[\\],#|>'\" \n\t~!?%@]{0,80}") {
            let _ = read(&text);
        }
    }
}
