//! Definitions in JSON: the same blocks and attributes, with templates in the strings.
//! Source: HashiCorp HCL specification, "JSON Syntax".

use super::error::{Fault, Span};
use super::hcl;
use super::number::Number;
use super::syntax::{Attribute, Block, Body, Expression, Kind};
use super::value::Value;

/// How deep arrays and objects may lie in each other.
const DEEPEST: u32 = 60;

/// Kinds of blocks at the top of a file; each has one label.
const BLOCKS: [&str; 4] = ["group", "target", "variable", "function"];

/// Reads a whole file.
pub(super) fn read(text: &str, source: u16) -> Result<Body, Fault> {
    let mut reader = Reader { text, at: 0, source, depth: 0 };
    let node = reader.node()?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(
            reader.fault("Extraneous data after JSON value", "there is more after the end of the definition")
        );
    }
    top(node, source)
}

/// Reads a JSON text as a plain value, in which strings are just strings.
pub(super) fn read_value(text: &str) -> Result<Value, Fault> {
    let mut reader = Reader { text, at: 0, source: u16::MAX, depth: 0 };
    let node = reader.node()?;
    reader.blanks();
    match reader.at < text.len() {
        true => {
            Err(reader.fault("Extraneous data after JSON value", "there is more after the end of the value"))
        }
        false => Ok(plain(&node)),
    }
}

#[derive(Debug)]
struct Node {
    kind: NodeKind,
    span: Span,
}

#[derive(Debug)]
enum NodeKind {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Span, Node)>),
}

fn plain(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(truth) => Value::Bool(*truth),
        NodeKind::Number(number) => Value::Number(*number),
        NodeKind::String(text) => Value::string(text),
        NodeKind::Array(items) => Value::tuple(items.iter().map(plain).collect()),
        NodeKind::Object(entries) => {
            Value::object(entries.iter().map(|(name, _, node)| (name.clone(), plain(node))).collect())
        }
    }
}

fn top(node: Node, source: u16) -> Result<Body, Fault> {
    let mut body = Body { end: Span { start: node.span.end, ..node.span }, ..Body::default() };
    let NodeKind::Object(entries) = node.kind else {
        return Err(Fault::new(node.span, "Root value must be object", "a definition is a JSON object"));
    };
    for (name, name_span, node) in entries {
        if name == "//" {
            continue;
        }
        match BLOCKS.contains(&name.as_str()) {
            true => labelled(&name, name_span, node, &mut body.blocks)?,
            false => body.attributes.push(Attribute { name, name_span, expression: expression(node)? }),
        }
    }
    debug_assert!(source == body.end.source, "a body is of the file it was read from");
    Ok(body)
}

fn labelled(kind: &str, kind_span: Span, node: Node, blocks: &mut Vec<Block>) -> Result<(), Fault> {
    let nodes = one_or_many(node);
    for node in nodes {
        let NodeKind::Object(entries) = node.kind else {
            return Err(Fault::new(
                node.span,
                "Incorrect JSON value type",
                format!("{kind} takes an object of names"),
            ));
        };
        for (label, label_span, inside) in entries {
            for one in one_or_many(inside) {
                let body = inner(kind, one)?;
                let labels = vec![(label.clone(), label_span)];
                blocks.push(Block { kind: kind.to_owned(), kind_span, labels, body });
            }
        }
    }
    Ok(())
}

fn one_or_many(node: Node) -> Vec<Node> {
    match node.kind {
        NodeKind::Array(items) => items,
        NodeKind::Null => Vec::new(),
        _ => vec![node],
    }
}

fn inner(kind: &str, node: Node) -> Result<Body, Fault> {
    let mut body = Body { end: Span { start: node.span.end, ..node.span }, ..Body::default() };
    let NodeKind::Object(entries) = node.kind else {
        return Err(Fault::new(node.span, "Incorrect JSON value type", format!("a {kind} is an object")));
    };
    for (name, name_span, node) in entries {
        match (kind, name.as_str()) {
            (_, "//") => {}
            ("variable", "validation") => {
                for one in one_or_many(node) {
                    let inside = inner("validation", one)?;
                    body.blocks.push(Block {
                        kind: name.clone(),
                        kind_span: name_span,
                        labels: Vec::new(),
                        body: inside,
                    });
                }
            }
            ("function", "params" | "variadic_params") | ("variable", "type") => {
                body.attributes.push(Attribute { name, name_span, expression: words(node)? });
            }
            _ => body.attributes.push(Attribute { name, name_span, expression: expression(node)? }),
        }
    }
    Ok(body)
}

/// Reads strings as the expressions in them: names of parameters, types.
fn words(node: Node) -> Result<Expression, Fault> {
    match node.kind {
        NodeKind::String(text) => hcl::read_expression(&text, node.span.source, node.span.start + 1),
        NodeKind::Array(items) => {
            let items = items.into_iter().map(words).collect::<Result<_, _>>()?;
            Ok(Expression { kind: Kind::Tuple(items), span: node.span })
        }
        _ => expression(node),
    }
}

fn expression(node: Node) -> Result<Expression, Fault> {
    let span = node.span;
    let kind = match node.kind {
        NodeKind::Null => Kind::Literal(Value::Null),
        NodeKind::Bool(truth) => Kind::Literal(Value::Bool(truth)),
        NodeKind::Number(number) => Kind::Literal(Value::Number(number)),
        NodeKind::String(text) => {
            let read = hcl::read_template(&text, span.source, span.start + 1)?;
            return Ok(match read.kind {
                literal @ Kind::Literal(_) => Expression { kind: literal, span },
                kind => Expression { kind, span: read.span },
            });
        }
        NodeKind::Array(items) => Kind::Tuple(items.into_iter().map(expression).collect::<Result<_, _>>()?),
        NodeKind::Object(entries) => {
            let entry = |(name, name_span, node): (String, Span, Node)| {
                let key = hcl::read_template(&name, name_span.source, name_span.start + 1)?;
                Ok((key, expression(node)?))
            };
            Kind::Object(entries.into_iter().map(entry).collect::<Result<_, Fault>>()?)
        }
    };
    Ok(Expression { kind, span })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    source: u16,
    depth: u32,
}

impl Reader<'_> {
    fn span(&self, start: usize) -> Span {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { source: self.source, start: place(start), end: place(self.at) }
    }

    fn fault(&self, summary: &'static str, detail: impl Into<String>) -> Fault {
        let mut span = self.span(self.at);
        span.end += 1;
        Fault::new(span, summary, detail)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn node(&mut self) -> Result<Node, Fault> {
        self.blanks();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.fault("Too deep", format!("values lie in each other more than {DEEPEST} deep")));
        }
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => NodeKind::String(self.string()?),
            Some(b'{') => NodeKind::Object(self.object()?),
            Some(b'[') => NodeKind::Array(self.array()?),
            Some(_) => self.word()?,
            None => {
                return Err(
                    self.fault("Missing JSON value", "a value is expected before the end of the file")
                );
            }
        };
        self.depth -= 1;
        Ok(Node { kind, span: self.span(start) })
    }

    fn word(&mut self) -> Result<NodeKind, Fault> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')));
        let word = &rest[..end.unwrap_or(rest.len())];
        let kind = match word {
            "null" => Some(NodeKind::Null),
            "true" => Some(NodeKind::Bool(true)),
            "false" => Some(NodeKind::Bool(false)),
            _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                Number::parse(word).map(NodeKind::Number)
            }
            _ => None,
        };
        let kind = kind.ok_or_else(|| {
            self.fault("Invalid JSON value", format!("{word:?} is no JSON value"))
                .hint("strings stand in double quotes")
        })?;
        self.at += word.len();
        Ok(kind)
    }

    fn array(&mut self) -> Result<Vec<Node>, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.take(b']') {
            if !items.is_empty() && !self.take(b',') {
                return Err(self.fault("Missing item separator", "array items are separated by commas"));
            }
            items.push(self.node()?);
        }
        Ok(items)
    }

    fn object(&mut self) -> Result<Vec<(String, Span, Node)>, Fault> {
        self.at += 1;
        let mut entries = Vec::new();
        while !self.take(b'}') {
            if !entries.is_empty() && !self.take(b',') {
                return Err(
                    self.fault("Missing attribute separator", "object entries are separated by commas")
                );
            }
            self.blanks();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(
                    self.fault("Invalid object property", "the name of a property stands in double quotes")
                );
            }
            let name = self.string()?;
            let span = self.span(start);
            if !self.take(b':') {
                return Err(
                    self.fault("Missing property value", "a colon and a value follow the name of a property")
                );
            }
            entries.push((name, span, self.node()?));
        }
        Ok(entries)
    }

    fn string(&mut self) -> Result<String, Fault> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let written = self
            .text
            .get(start..=end)
            .ok_or_else(|| self.fault("Unclosed string", "this string does not end"))?;
        self.at = end + 1;
        serde_json::from_str(written)
            .map_err(|error| Fault::new(self.span(start), "Invalid JSON string", error.to_string()))
    }
}
