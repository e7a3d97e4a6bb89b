//! Tokens to nodes.

use std::vec::IntoIter;

use super::lex::{self, Flags, Token};
use super::{Block, Call, Content, Expression, Failure, MAX_DEPTH, Node, Path, Program, Strip, Value};
use crate::identity::docker::number;

/// Reads a template; whitespace is as it was written.
pub(super) fn parse(text: &str) -> Result<Program, Failure> {
    let tokens = lex::tokens(text)?;
    let mut parser = Parser { tokens: tokens.into_iter(), depth: 0 };
    let program = parser.program()?;
    match parser.peek() {
        None => Ok(program),
        Some(Token::OpenEndBlock(_)) => Err(Failure::new("a block is closed that was not opened")),
        Some(_) => Err(Failure::new("{{else}} stands outside of a block")),
    }
}

struct Parser {
    tokens: IntoIter<Token>,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.as_slice().first()
    }

    /// Runs `read` one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        if self.depth == MAX_DEPTH {
            return Err(Failure::new(format!("more than {MAX_DEPTH} expressions stand in each other")));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn program(&mut self) -> Result<Program, Failure> {
        self.nested(|parser| {
            let mut program = Program::default();
            while let Some(node) = parser.node()? {
                program.body.push(node);
            }
            Ok(program)
        })
    }

    /// Reads a node; `None` at what ends a program.
    fn node(&mut self) -> Result<Option<Node>, Failure> {
        let ends = |token: &Token| {
            matches!(token, Token::OpenEndBlock(_) | Token::Inverse(_) | Token::OpenInverseChain(_))
        };
        if self.peek().is_none_or(ends) {
            return Ok(None);
        }
        let node = match self.tokens.next() {
            Some(Token::Content(text)) => Node::Content(Content::new(text)),
            Some(Token::Comment(flags)) => Node::Comment { strip: flags.alone() },
            Some(Token::Open(open)) => self.mustache(open, false)?,
            Some(Token::OpenUnescaped(open)) => self.mustache(open, true)?,
            Some(Token::OpenBlock(open)) => self.block(open)?,
            Some(Token::OpenInverse(open)) => self.inverse_block(open)?,
            Some(Token::OpenPartial(open)) => {
                let call = self.partial_call()?;
                let strip = open.to(self.close()?);
                Node::Partial { name: call.path.original, strip }
            }
            Some(Token::OpenPartialBlock(open)) => self.partial_block(open)?,
            Some(Token::OpenRaw) => self.raw_block()?,
            _ => return Err(Failure::new("a tag does not start as one")),
        };
        Ok(Some(node))
    }

    fn mustache(&mut self, open: Flags, is_unescaped: bool) -> Result<Node, Failure> {
        if open.has_star {
            return Err(Failure::new("decorators are not supported"));
        }
        let call = self.call()?;
        let close = if is_unescaped {
            match self.tokens.next() {
                Some(Token::CloseUnescaped(flags)) => flags,
                _ => return Err(Failure::new("{{{ is closed by }}}")),
            }
        } else {
            self.close()?
        };
        Ok(Node::Mustache { call, is_escaped: !is_unescaped && !open.has_ampersand, strip: open.to(close) })
    }

    fn block(&mut self, open: Flags) -> Result<Node, Failure> {
        if open.has_star {
            return Err(Failure::new("decorators are not supported"));
        }
        let (call, parameters) = self.opening()?;
        let open_strip = open.to(self.close()?);
        let mut program = self.program()?;
        program.parameters = parameters;
        let (inverse, inverse_strip) = self.inverse_chain()?;
        let close_strip = self.end(&call)?;
        let mut block =
            Block { call, program: Some(program), inverse, open_strip, inverse_strip, close_strip };
        set_close_of_chain(&mut block.inverse, close_strip);
        Ok(Node::Block(Box::new(block)))
    }

    /// Reads `{{^name}}...{{/name}}`: what is inside is for the case that there is nothing.
    fn inverse_block(&mut self, open: Flags) -> Result<Node, Failure> {
        let (call, parameters) = self.opening()?;
        let open_strip = open.to(self.close()?);
        let mut inverse = self.program()?;
        inverse.parameters = parameters;
        let (program, inverse_strip) = match self.peek() {
            Some(Token::Inverse(_)) => self.inverse_chain()?,
            _ => (None, Strip::default()),
        };
        let close_strip = self.end(&call)?;
        let block = Block { call, program, inverse: Some(inverse), open_strip, inverse_strip, close_strip };
        Ok(Node::Block(Box::new(block)))
    }

    /// Reads `{{else}}` or `{{else if ...}}` and what follows; nothing where neither is there.
    fn inverse_chain(&mut self) -> Result<(Option<Program>, Strip), Failure> {
        match self.peek() {
            Some(Token::Inverse(flags)) => {
                let strip = flags.alone();
                self.tokens.next();
                Ok((Some(self.program()?), strip))
            }
            Some(Token::OpenInverseChain(flags)) => {
                let open = *flags;
                self.tokens.next();
                let (call, parameters) = self.opening()?;
                let open_strip = open.to(self.close()?);
                let mut program = self.program()?;
                program.parameters = parameters;
                let (inverse, inverse_strip) = self.nested(Self::inverse_chain)?;
                let close_strip = Strip::default();
                let block =
                    Block { call, program: Some(program), inverse, open_strip, inverse_strip, close_strip };
                let body = vec![Node::Block(Box::new(block))];
                Ok((Some(Program { body, parameters: Vec::new(), chained: true }), open_strip))
            }
            _ => Ok((None, Strip::default())),
        }
    }

    fn partial_block(&mut self, open: Flags) -> Result<Node, Failure> {
        let call = self.partial_call()?;
        let open_strip = open.to(self.close()?);
        let program = Some(self.program()?);
        let close_strip = self.end(&call)?;
        let inverse_strip = Strip::default();
        let block = Block { call, program, inverse: None, open_strip, inverse_strip, close_strip };
        Ok(Node::PartialBlock(Box::new(block)))
    }

    fn raw_block(&mut self) -> Result<Node, Failure> {
        let call = self.call()?;
        if self.tokens.next() != Some(Token::CloseRaw) {
            return Err(Failure::new("{{{{ is closed by }}}}"));
        }
        let mut program = Program::default();
        loop {
            match self.tokens.next() {
                Some(Token::Content(text)) => program.body.push(Node::Content(Content::new(text))),
                Some(Token::EndRaw(name)) if name == call.path.original => break,
                Some(Token::EndRaw(name)) => return Err(mismatch(&call.path.original, &name)),
                _ => return Err(Failure::new("a raw block is not closed")),
            }
        }
        let strip = Strip::default();
        let block = Block {
            call,
            program: Some(program),
            inverse: None,
            open_strip: strip,
            inverse_strip: strip,
            close_strip: strip,
        };
        Ok(Node::Block(Box::new(block)))
    }

    /// Reads what opens a block: a call, and names for what it gives.
    fn opening(&mut self) -> Result<(Call, Vec<String>), Failure> {
        let call = self.call()?;
        let mut names = Vec::new();
        if self.peek() == Some(&Token::OpenParameters) {
            self.tokens.next();
            loop {
                match self.tokens.next() {
                    Some(Token::Id { name, .. }) => names.push(name),
                    Some(Token::CloseParameters) if !names.is_empty() => break,
                    _ => return Err(Failure::new("between | and | stand names")),
                }
            }
        }
        Ok((call, names))
    }

    fn close(&mut self) -> Result<Flags, Failure> {
        match self.tokens.next() {
            Some(Token::Close(flags)) => Ok(flags),
            _ => Err(Failure::new("a tag is closed by }}")),
        }
    }

    fn end(&mut self, call: &Call) -> Result<Strip, Failure> {
        let Some(Token::OpenEndBlock(open)) = self.tokens.next() else {
            return Err(Failure::new(format!("the block {} is not closed", call.path.original)));
        };
        let path = self.helper_name()?;
        if path.original != call.path.original {
            return Err(mismatch(&call.path.original, &path.original));
        }
        Ok(open.to(self.close()?))
    }

    fn call(&mut self) -> Result<Call, Failure> {
        let path = self.helper_name()?;
        self.arguments(path)
    }

    fn partial_call(&mut self) -> Result<Call, Failure> {
        if self.peek() == Some(&Token::OpenCall) {
            return Err(Failure::new("partials are not supported"));
        }
        let call = self.call()?;
        if call.parameters.len() > 1 {
            return Err(Failure::new("a partial takes one parameter at most"));
        }
        Ok(call)
    }

    fn arguments(&mut self, path: Path) -> Result<Call, Failure> {
        let mut call = Call { path, parameters: Vec::new(), hash: Vec::new() };
        loop {
            if let [Token::Id { name, .. }, Token::Equals, ..] = self.tokens.as_slice() {
                let name = name.clone();
                self.tokens.next();
                self.tokens.next();
                let value = self.parameter()?.ok_or_else(|| Failure::new(format!("{name}= has no value")))?;
                call.hash.push((name, value));
                continue;
            }
            match self.parameter()? {
                Some(_) if !call.hash.is_empty() => {
                    return Err(Failure::new("a parameter stands after those with names"));
                }
                Some(parameter) => call.parameters.push(parameter),
                None => return Ok(call),
            }
        }
    }

    fn parameter(&mut self) -> Result<Option<Expression>, Failure> {
        Ok(match self.peek() {
            Some(Token::OpenCall) => {
                self.tokens.next();
                let call = self.nested(Self::call)?;
                if self.tokens.next() != Some(Token::CloseCall) {
                    return Err(Failure::new("( is closed by )"));
                }
                Some(Expression::Call(call))
            }
            Some(Token::Id { .. } | Token::Data) => Some(Expression::Path(self.path()?)),
            Some(token) => match literal(token) {
                Some((value, _)) => {
                    self.tokens.next();
                    Some(Expression::Literal(value))
                }
                None => None,
            },
            None => None,
        })
    }

    /// Reads what a call is of; a literal there is a name.
    fn helper_name(&mut self) -> Result<Path, Failure> {
        match self.peek() {
            Some(Token::Id { .. } | Token::Data) => self.path(),
            Some(token) => {
                let (_, original) = literal(token).ok_or_else(|| Failure::new("a tag has no name in it"))?;
                self.tokens.next();
                Ok(Path { parts: vec![original.clone()], original, is_literal: true, ..Path::default() })
            }
            None => Err(Failure::new("a tag has no name in it")),
        }
    }

    fn path(&mut self) -> Result<Path, Failure> {
        let mut path = Path::default();
        if self.peek() == Some(&Token::Data) {
            self.tokens.next();
            path.is_data = true;
            path.original.push('@');
        }
        loop {
            let Some(Token::Id { name, is_bracketed }) = self.tokens.next() else {
                return Err(Failure::new(format!("the path {} is not complete", path.original)));
            };
            path.original.push_str(&name);
            let is_operator = !is_bracketed && matches!(name.as_str(), ".." | "." | "this");
            match (is_operator, path.parts.is_empty()) {
                (true, false) => return Err(Failure::new(format!("invalid path {}", path.original))),
                (true, true) => {
                    path.is_scoped = true;
                    path.depth += usize::from(name == "..");
                }
                (false, _) => path.parts.push(name),
            }
            if self.peek() != Some(&Token::Separator) {
                return Ok(path);
            }
            self.tokens.next();
            path.original.push('/');
        }
    }
}

/// Returns a literal as a value, and as it was written.
fn literal(token: &Token) -> Option<(Value, String)> {
    Some(match token {
        Token::Text(text) => (Value::text(text), text.clone()),
        Token::Number(text) => {
            let number = text.parse().unwrap_or(f64::NAN);
            (Value::Number(number), number::format(number))
        }
        Token::Bool(value) => (Value::Bool(*value), value.to_string()),
        Token::Undefined => (Value::Undefined, "undefined".to_owned()),
        Token::Null => (Value::Null, "null".to_owned()),
        _ => return None,
    })
}

fn mismatch(open: &str, close: &str) -> Failure {
    Failure::new(format!("the block {open} is closed as {close}"))
}

/// The last tag of a chain closes the first `else if` of it too.
fn set_close_of_chain(inverse: &mut Option<Program>, strip: Strip) {
    if let Some(program) = inverse
        && program.chained
        && let Some(Node::Block(block)) = program.body.first_mut()
    {
        block.close_strip = strip;
    }
}

impl Content {
    fn new(text: String) -> Self {
        Self { value: text.clone(), original: text, is_left_stripped: false, is_right_stripped: false }
    }
}
