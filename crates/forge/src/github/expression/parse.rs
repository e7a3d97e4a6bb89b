//! From words to a tree: `||` binds least, then `&&`, comparisons, `!`, and what follows a value.

use serde_json::Value;

use super::lex::{Token, lex};
use super::{Node, Operator};

/// The longest expression that the host takes, in characters.
const MAX_LENGTH: usize = 21_000;

/// How deep an expression may be.
const MAX_DEPTH: usize = 50;

pub(super) fn parse(text: &str) -> Result<Node, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("it is longer than {MAX_LENGTH} characters"));
    }
    let mut parser = Parser { tokens: lex(text)?, at: 0, depth: 0 };
    if parser.tokens.is_empty() {
        return Err("it is empty".to_owned());
    }
    let node = parser.binary(0)?;
    match parser.peek() {
        None => Ok(node),
        Some(token) => Err(format!("{} is left over at the end", shown(token))),
    }
}

/// Operators, by how much they bind.
const LEVELS: [&[(&str, Operator)]; 4] = [
    &[("||", Operator::Or)],
    &[("&&", Operator::And)],
    &[("==", Operator::Equal), ("!=", Operator::NotEqual)],
    &[
        ("<", Operator::Less),
        ("<=", Operator::LessOrEqual),
        (">", Operator::Greater),
        (">=", Operator::GreaterOrEqual),
    ],
];

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn take(&mut self, sign: &str) -> bool {
        let is_there = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) {
            return Ok(());
        }
        Err(format!("{sign} is missing before {}", self.peek().map_or("the end".to_owned(), shown)))
    }

    fn binary(&mut self, level: usize) -> Result<Node, String> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut node = self.binary(level + 1)?;
        // A chain lies as deep in the tree as it is long.
        let before = self.depth;
        while let Some((_, operator)) = operators.iter().find(|(sign, _)| self.take(sign)) {
            self.deeper()?;
            let right = self.binary(level + 1)?;
            node = Node::Binary(*operator, Box::new(node), Box::new(right));
        }
        self.depth = before;
        Ok(node)
    }

    fn unary(&mut self) -> Result<Node, String> {
        self.deeper()?;
        let node = if self.take("!") { Node::Not(Box::new(self.unary()?)) } else { self.postfix()? };
        self.depth -= 1;
        Ok(node)
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(format!("it is more than {MAX_DEPTH} deep")) } else { Ok(()) }
    }

    fn postfix(&mut self) -> Result<Node, String> {
        let mut node = self.primary()?;
        let before = self.depth;
        loop {
            if self.take(".") {
                node = match self.next() {
                    Some(Token::Name(name)) => Node::Property(Box::new(node), name),
                    Some(Token::Sign("*")) => Node::Each(Box::new(node)),
                    _ => return Err("after a point comes a name".to_owned()),
                };
            } else if self.take("[") {
                if self.take("*") {
                    node = Node::Each(Box::new(node));
                } else {
                    let index = self.binary(0)?;
                    node = Node::Index(Box::new(node), Box::new(index));
                }
                self.expect("]")?;
            } else {
                self.depth = before;
                return Ok(node);
            }
            self.deeper()?;
        }
    }

    fn primary(&mut self) -> Result<Node, String> {
        match self.next() {
            Some(Token::Literal(value)) => Ok(Node::Literal(value)),
            Some(Token::Sign("(")) => {
                let node = self.binary(0)?;
                self.expect(")")?;
                Ok(node)
            }
            Some(Token::Name(name)) if self.take("(") => Ok(Node::Call(name, self.arguments()?)),
            Some(Token::Name(name)) => Ok(match name.as_str() {
                "true" => Node::Literal(Value::Bool(true)),
                "false" => Node::Literal(Value::Bool(false)),
                "null" => Node::Literal(Value::Null),
                _ => Node::Context(name),
            }),
            Some(token) => Err(format!("{} stands where a value is expected", shown(&token))),
            None => Err("it ends where a value is expected".to_owned()),
        }
    }

    fn arguments(&mut self) -> Result<Vec<Node>, String> {
        let mut arguments = Vec::new();
        if self.take(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.binary(0)?);
            if self.take(")") {
                return Ok(arguments);
            }
            self.expect(",")?;
        }
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Literal(value) => value.to_string(),
        Token::Name(name) => name.clone(),
        Token::Sign(sign) => (*sign).to_owned(),
    }
}
