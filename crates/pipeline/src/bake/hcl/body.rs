//! Bodies: attributes and blocks, line by line.

use super::cursor::Cursor;
use crate::bake::error::Fault;
use crate::bake::syntax::{Attribute, Block, Body};

impl Cursor<'_> {
    /// Reads a file to its end.
    pub(super) fn file(&mut self) -> Result<Body, Fault> {
        let body = self.body(false)?;
        Ok(body)
    }

    fn body(&mut self, in_block: bool) -> Result<Body, Fault> {
        let mut body = Body::default();
        loop {
            self.lines();
            match self.peek() {
                None if in_block => {
                    return Err(self
                        .fault("Unclosed configuration block", "There is no closing brace for this block")
                        .hint("close the block with `}`"));
                }
                None => break,
                Some(b'}') if in_block => break,
                Some(_) => self.item(&mut body)?,
            }
        }
        body.end = self.here();
        Ok(body)
    }

    fn item(&mut self, body: &mut Body) -> Result<(), Fault> {
        let start = self.at;
        let Some(name) = self.identifier() else { return Err(self.no_item()) };
        let name_span = self.span(start);
        self.blanks();
        if self.peek() == Some(b'=') && !self.starts("==") {
            self.at += 1;
            let expression = self.expression()?;
            self.end_of_item(
                "Missing newline after argument",
                "An argument definition must end with a newline",
            )?;
            return add(body, Attribute { name: name.to_owned(), name_span, expression });
        }
        let block = self.block(name, name_span)?;
        body.blocks.push(block);
        self.end_of_item(
            "Missing newline after block definition",
            "A block definition must end with a newline",
        )
    }

    fn no_item(&self) -> Fault {
        match self.peek() {
            Some(b'"') => self
                .fault("Invalid argument name", "Argument names must not be quoted")
                .hint("leave out the quotes"),
            _ => self.fault(
                "Argument or block definition required",
                "An argument or block definition is required here",
            ),
        }
    }

    fn end_of_item(&mut self, summary: &'static str, detail: &str) -> Result<(), Fault> {
        self.blanks();
        match self.peek() {
            None | Some(b'}') => Ok(()),
            Some(_) if self.take_newline() => Ok(()),
            Some(_) => Err(self.fault(summary, detail)),
        }
    }

    fn block(&mut self, kind: &str, kind_span: crate::bake::error::Span) -> Result<Block, Fault> {
        let mut labels = Vec::new();
        loop {
            self.blanks();
            let start = self.at;
            match self.peek() {
                Some(b'{') => break,
                Some(b'"') => {
                    let label = self.quoted_word()?;
                    labels.push((label, self.span(start)));
                }
                _ => match self.identifier() {
                    Some(label) => labels.push((label.to_owned(), self.span(start))),
                    None => return Err(self.no_block(kind)),
                },
            }
        }
        self.at += 1;
        let body = self.deeper(|cursor| cursor.with_newlines(true, |cursor| cursor.body(true)))?;
        self.at += 1;
        Ok(Block { kind: kind.to_owned(), kind_span, labels, body })
    }

    fn no_block(&self, kind: &str) -> Fault {
        let detail = "Either a quoted string block label or an opening brace (\"{\") is expected here";
        self.fault("Invalid block definition", detail)
            .hint(format!("write `{kind} = VALUE`, or `{kind} \"NAME\" {{` for a block"))
    }
}

fn add(body: &mut Body, attribute: Attribute) -> Result<(), Fault> {
    if body.attributes.iter().any(|known| known.name == attribute.name) {
        let detail = format!("The argument {:?} was already set in this body", attribute.name);
        return Err(Fault::new(attribute.name_span, "Attribute redefined", detail).hint("keep one of them"));
    }
    body.attributes.push(attribute);
    Ok(())
}
