//! Expressions: operators by their precedence, terms, and what is taken of terms.

use super::cursor::Cursor;
use crate::bake::error::Fault;
use crate::bake::number::Number;
use crate::bake::syntax::{Expression, For, Kind, Operator};
use crate::bake::value::Value;

/// Operators on two values, weakest first.
const LEVELS: [&[(&str, Operator)]; 6] = [
    &[("||", Operator::Or)],
    &[("&&", Operator::And)],
    &[("==", Operator::Equal), ("!=", Operator::NotEqual)],
    &[
        (">=", Operator::GreaterOrEqual),
        ("<=", Operator::LessOrEqual),
        (">", Operator::Greater),
        ("<", Operator::Less),
    ],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Modulo)],
];

impl Cursor<'_> {
    /// Reads an expression that is all there is.
    pub(super) fn whole_expression(&mut self) -> Result<Expression, Fault> {
        let expression = self.expression()?;
        self.lines();
        match self.peek() {
            None => Ok(expression),
            Some(_) => Err(self.fault(
                "Extra characters after expression",
                "An expression was successfully parsed, but extra characters were found after it",
            )),
        }
    }

    /// Reads an expression.
    pub(super) fn expression(&mut self) -> Result<Expression, Fault> {
        self.deeper(|cursor| {
            let condition = cursor.binary(0)?;
            if !cursor.take_token("?") {
                return Ok(condition);
            }
            let yes = cursor.expression()?;
            if !cursor.take_token(":") {
                return Err(cursor.fault("Missing false expression in conditional", "The conditional operator (...?...:...) requires a false expression, delimited by a colon"));
            }
            let no = cursor.expression()?;
            let span = condition.span.to(no.span);
            Ok(Expression { kind: Kind::Conditional(Box::new([condition, yes, no])), span })
        })
    }

    fn binary(&mut self, level: usize) -> Result<Expression, Fault> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        let mut links = 0;
        while let Some(operator) = self.operator(operators) {
            let right = self.binary(level + 1)?;
            let span = left.span.to(right.span);
            left = Expression { kind: Kind::Binary(operator, Box::new([left, right])), span };
            links += 1;
            // The tree leans to the left: each link is one level for whoever walks it.
            if links > 200 {
                return Err(self.fault("Too deep", "more than 200 operators in a row"));
            }
        }
        Ok(left)
    }

    fn operator(&mut self, operators: &[(&str, Operator)]) -> Option<Operator> {
        self.blanks();
        if self.starts("=>") {
            return None;
        }
        operators.iter().find(|(word, _)| self.take(word)).map(|(_, operator)| *operator)
    }

    fn unary(&mut self) -> Result<Expression, Fault> {
        self.blanks();
        let start = self.at;
        let wrap: fn(Box<Expression>) -> Kind = match self.peek() {
            Some(b'-') => Kind::Negate,
            Some(b'!') if !self.starts("!=") => Kind::Not,
            _ => return self.term(),
        };
        self.at += 1;
        let of = self.deeper(Self::unary)?;
        Ok(Expression { kind: wrap(Box::new(of)), span: self.span(start) })
    }

    fn term(&mut self) -> Result<Expression, Fault> {
        let start = self.at;
        let mut term = self.bare_term()?;
        let mut links = 0;
        loop {
            self.blanks_before_dot();
            let next = match self.peek() {
                Some(b'.') if !self.starts("...") => self.attribute(term, start)?,
                Some(b'[') => self.index(term, start)?,
                _ => return Ok(term),
            };
            term = next;
            links += 1;
            if links > 200 {
                return Err(self.fault("Too deep", "more than 200 steps into one value"));
            }
        }
    }

    /// Blanks are skipped only where a step into the value follows them.
    fn blanks_before_dot(&mut self) {
        let before = self.at;
        self.blanks();
        if !matches!(self.peek(), Some(b'.' | b'[')) {
            self.at = before;
        }
    }

    fn attribute(&mut self, of: Expression, start: usize) -> Result<Expression, Fault> {
        self.at += 1;
        self.blanks();
        if self.take("*") {
            return self.splat(of, start, false);
        }
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            let key_start = self.at;
            while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                self.at += 1;
            }
            let number = Number::parse(&self.text[key_start..self.at]).unwrap_or(Number::from(0usize));
            let key = Expression::literal(Value::Number(number), self.span(key_start));
            return Ok(Expression { kind: Kind::Index(Box::new(of), Box::new(key)), span: self.span(start) });
        }
        match self.identifier() {
            Some(name) => {
                let name = name.to_owned();
                Ok(Expression { kind: Kind::Attribute(Box::new(of), name), span: self.span(start) })
            }
            None => Err(self.fault("Invalid attribute name", "An attribute name is required after a dot")),
        }
    }

    fn index(&mut self, of: Expression, start: usize) -> Result<Expression, Fault> {
        self.at += 1;
        self.with_newlines(false, |cursor| {
            cursor.blanks();
            if cursor.starts("*") && cursor.rest()[1..].trim_start().starts_with(']') {
                cursor.at += 1;
                cursor.take_token("]");
                return Ok(None);
            }
            let key = cursor.expression()?;
            match cursor.take_token("]") {
                true => Ok(Some(key)),
                false => Err(cursor.fault(
                    "Missing close bracket on index",
                    "The index operator must end with a closing bracket (\"]\")",
                )),
            }
        })
        .and_then(|key| match key {
            Some(key) => {
                Ok(Expression { kind: Kind::Index(Box::new(of), Box::new(key)), span: self.span(start) })
            }
            None => self.splat(of, start, true),
        })
    }

    /// Reads what a splat takes of each element: after `[*]` names and keys, after `.*` names only.
    fn splat(&mut self, of: Expression, start: usize, full: bool) -> Result<Expression, Fault> {
        let mut each = Expression { kind: Kind::Each, span: self.span(start) };
        loop {
            each = match self.peek() {
                Some(b'.') if !self.starts("...") && !self.starts(".*") => self.attribute(each, start)?,
                Some(b'[') if full => self.index(each, start)?,
                _ => break,
            };
        }
        Ok(Expression { kind: Kind::Splat(Box::new(of), Box::new(each)), span: self.span(start) })
    }

    fn bare_term(&mut self) -> Result<Expression, Fault> {
        self.blanks();
        let start = self.at;
        match self.peek() {
            Some(b'0'..=b'9') => self.number(),
            Some(b'"') => self.quoted_template(),
            Some(b'<') if self.starts("<<") => self.heredoc(),
            Some(b'(') => {
                self.at += 1;
                let mut inner = self.with_newlines(false, |cursor| {
                    let inner = cursor.expression()?;
                    match cursor.take_token(")") {
                        true => Ok(inner),
                        false => Err(cursor.fault(
                            "Unbalanced parentheses",
                            "Expected a closing parenthesis to terminate the expression",
                        )),
                    }
                })?;
                inner.span = self.span(start);
                Ok(inner)
            }
            Some(b'[') => self.tuple(),
            Some(b'{') => self.object(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Expression, Fault> {
        let start = self.at;
        let Some(name) = self.identifier() else {
            let detail = "Expected the start of an expression, but found an invalid expression token";
            return Err(self.fault("Invalid expression", detail));
        };
        let mut name = name.to_owned();
        while self.take("::") {
            let Some(more) = self.identifier() else {
                return Err(self.fault("Missing function name", "A function name is required after ::"));
            };
            name = format!("{name}::{more}");
        }
        let before = self.at;
        self.blanks();
        if self.peek() == Some(b'(') {
            return self.call(name, start);
        }
        self.at = before;
        let kind = match name.as_str() {
            "true" => Kind::Literal(Value::Bool(true)),
            "false" => Kind::Literal(Value::Bool(false)),
            "null" => Kind::Literal(Value::Null),
            _ => Kind::Variable(name),
        };
        Ok(Expression { kind, span: self.span(start) })
    }

    fn call(&mut self, name: String, start: usize) -> Result<Expression, Fault> {
        self.at += 1;
        let (arguments, spread) = self.with_newlines(false, |cursor| {
            let mut arguments = Vec::new();
            loop {
                if cursor.take_token(")") {
                    return Ok((arguments, false));
                }
                arguments.push(cursor.expression()?);
                if cursor.take_token("...") {
                    return match cursor.take_token(")") {
                        true => Ok((arguments, true)),
                        false => Err(cursor.fault("Missing closing parenthesis", "An expanded function argument (with ...) must be immediately followed by closing parentheses")),
                    };
                }
                if !cursor.take_token(",") && !{ cursor.blanks(); cursor.starts(")") } {
                    return Err(cursor.fault("Missing argument separator", "A comma is required to separate each function argument from the next"));
                }
            }
        })?;
        Ok(Expression { kind: Kind::Call { name, arguments, spread }, span: self.span(start) })
    }

    fn number(&mut self) -> Result<Expression, Fault> {
        let start = self.at;
        let digits = |cursor: &mut Self| {
            while cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                cursor.at += 1;
            }
        };
        digits(self);
        let after_dot = self.text.as_bytes().get(self.at + 1).is_some_and(u8::is_ascii_digit);
        if self.peek() == Some(b'.') && after_dot {
            self.at += 1;
            digits(self);
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            let before = self.at;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            match self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                true => digits(self),
                false => self.at = before,
            }
        }
        let span = self.span(start);
        match Number::parse(&self.text[start..self.at]) {
            Some(number) => Ok(Expression::literal(Value::Number(number), span)),
            None => Err(Fault::new(span, "Invalid number literal", "the number is too large")),
        }
    }

    fn tuple(&mut self) -> Result<Expression, Fault> {
        let start = self.at;
        self.at += 1;
        let kind = self.with_newlines(false, |cursor| {
            cursor.blanks();
            if cursor.at_word("for") {
                return Ok(Kind::For(Box::new(cursor.comprehension("]")?)));
            }
            let mut items = Vec::new();
            while !cursor.take_token("]") {
                items.push(cursor.expression()?);
                cursor.blanks();
                if !cursor.take(",") && !cursor.starts("]") {
                    return Err(cursor
                        .fault(
                            "Missing item separator",
                            "Expected a comma to mark the beginning of the next item",
                        )
                        .hint("separate the items with commas"));
                }
            }
            Ok(Kind::Tuple(items))
        })?;
        Ok(Expression { kind, span: self.span(start) })
    }

    /// Whether the word stands next, and not the start of a longer one.
    pub(super) fn at_word(&self, word: &str) -> bool {
        let after = self.rest().strip_prefix(word).and_then(|rest| rest.chars().next());
        self.starts(word)
            && !after.is_some_and(|next| next.is_alphanumeric() || matches!(next, '_' | '-' | '='))
    }

    fn object(&mut self) -> Result<Expression, Fault> {
        let start = self.at;
        self.at += 1;
        let before = self.at;
        self.lines();
        if self.at_word("for") {
            let of = self.with_newlines(false, |cursor| cursor.comprehension("}"))?;
            return Ok(Expression { kind: Kind::For(Box::new(of)), span: self.span(start) });
        }
        self.at = before;
        let entries = self.with_newlines(true, Self::entries)?;
        Ok(Expression { kind: Kind::Object(entries), span: self.span(start) })
    }

    fn entries(&mut self) -> Result<Vec<(Expression, Expression)>, Fault> {
        let mut entries = Vec::new();
        loop {
            self.lines();
            if self.take("}") {
                return Ok(entries);
            }
            let key = self.key()?;
            self.blanks();
            if !(self.take("=") || self.take(":")) {
                return Err(self.fault(
                    "Missing attribute value",
                    "Expected an attribute value, introduced by an equals sign (\"=\")",
                ));
            }
            entries.push((key, self.expression()?));
            self.blanks();
            let separated = self.take(",") || self.take_newline() || self.starts("}");
            if !separated {
                return Err(self.fault(
                    "Missing attribute separator",
                    "Expected a newline or comma to mark the beginning of the next attribute",
                ));
            }
        }
    }

    fn key(&mut self) -> Result<Expression, Fault> {
        let in_brackets = self.peek() == Some(b'(');
        let key = self.expression()?;
        match (&key.kind, key.as_keyword()) {
            (_, Some(name)) if !in_brackets => Ok(Expression::literal(Value::string(name), key.span)),
            (Kind::Attribute(..) | Kind::Index(..), _) if !in_brackets => Err(Fault::new(
                key.span,
                "Ambiguous attribute key",
                "a key that is computed stands in parentheses",
            )
            .hint("put the key in parentheses, or in quotes to take it literally")),
            _ => Ok(key),
        }
    }

    fn comprehension(&mut self, close: &str) -> Result<For, Fault> {
        self.at += "for".len();
        let (key, value, collection) = self.for_intro()?;
        if !self.take_token(":") {
            return Err(
                self.fault("Invalid 'for' expression", "A colon is required after the collection expression")
            );
        }
        let first = self.expression()?;
        let (result_key, result) = match self.take_token("=>") {
            true => (Some(first), self.expression()?),
            false => (None, first),
        };
        if result_key.is_some() != (close == "}") {
            let detail = match close {
                "}" => "An object needs a key: write `for x in y : KEY => VALUE`",
                _ => "A list takes no key: use braces for KEY => VALUE",
            };
            return Err(Fault::new(result.span, "Invalid 'for' expression", detail));
        }
        let group = close == "}" && self.take_token("...");
        self.blanks();
        let condition = match self.at_word("if") {
            true => {
                self.at += 2;
                Some(self.expression()?)
            }
            false => None,
        };
        match self.take_token(close) {
            true => Ok(For { key, value, collection, result_key, result, group, condition }),
            false => Err(self.fault(
                "Invalid 'for' expression",
                format!("A closing {close:?} is required to end the 'for' expression"),
            )),
        }
    }

    /// Reads `a, b in collection`.
    pub(super) fn for_intro(&mut self) -> Result<(Option<String>, String, Expression), Fault> {
        let mut names = Vec::new();
        loop {
            self.blanks();
            match self.identifier() {
                Some(name) => names.push(name.to_owned()),
                None => {
                    return Err(
                        self.fault("Invalid 'for' expression", "A variable name is required after 'for'")
                    );
                }
            }
            if names.len() == 2 || !self.take_token(",") {
                break;
            }
        }
        self.blanks();
        if !self.at_word("in") {
            return Err(
                self.fault("Invalid 'for' expression", "The keyword 'in' is required after the names")
            );
        }
        self.at += 2;
        let collection = self.expression()?;
        let value = names.pop().expect("one name at least was read");
        Ok((names.pop(), value, collection))
    }
}
