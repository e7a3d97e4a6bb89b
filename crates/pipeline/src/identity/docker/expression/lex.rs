//! Tokens of templates.
//!
//! The reader of tokens knows in which of four states it is: in text, in a tag, after an escaped
//! tag, in a raw block. Inside a tag rules are tried in order and the first that fits wins.

use super::{Failure, Strip};
use crate::identity::docker::number::is_space;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Content(String),
    Comment(Flags),
    Open(Flags),
    OpenUnescaped(Flags),
    OpenBlock(Flags),
    OpenInverse(Flags),
    OpenInverseChain(Flags),
    OpenEndBlock(Flags),
    OpenPartial(Flags),
    OpenPartialBlock(Flags),
    OpenRaw,
    CloseRaw,
    EndRaw(String),
    Inverse(Flags),
    Close(Flags),
    CloseUnescaped(Flags),
    OpenCall,
    CloseCall,
    Equals,
    Separator,
    Data,
    Id { name: String, is_bracketed: bool },
    Text(String),
    Number(String),
    Bool(bool),
    Undefined,
    Null,
    OpenParameters,
    CloseParameters,
}

/// What is marked at a tag: tildes, `&`, `*`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flags {
    pub(super) has_left_tilde: bool,
    pub(super) has_right_tilde: bool,
    pub(super) has_ampersand: bool,
    pub(super) has_star: bool,
}

impl Flags {
    fn left(has_left_tilde: bool) -> Self {
        Self { has_left_tilde, ..Self::default() }
    }

    /// Returns the strip of a tag from `self`, its opening, to `close`.
    pub(super) fn to(self, close: Self) -> Strip {
        Strip { open: self.has_left_tilde, close: close.has_right_tilde }
    }

    /// Returns the strip of a tag that is one token.
    pub(super) fn alone(self) -> Strip {
        self.to(self)
    }
}

/// Reads all tokens of `text`.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Failure> {
    if text.contains('\0') {
        return Err(Failure::new("a NUL byte is in the template"));
    }
    let mut lexer = Lexer { rest: text, tokens: Vec::new() };
    while !lexer.rest.is_empty() {
        lexer.text()?;
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    /// Reads text up to the next tag, and that tag.
    fn text(&mut self) -> Result<(), Failure> {
        let Some(at) = self.rest.find("{{") else {
            let all = self.take(self.rest.len());
            self.content(all);
            return Ok(());
        };
        let text = self.take(at);
        if let Some(text) = text.strip_suffix("\\\\") {
            let text = format!("{text}\\");
            self.content(&text);
        } else if let Some(text) = text.strip_suffix('\\') {
            self.content(text);
            self.escaped();
            return Ok(());
        } else {
            self.content(text);
        }
        self.tag()
    }

    fn content(&mut self, text: &str) {
        if !text.is_empty() {
            self.tokens.push(Token::Content(text.to_owned()));
        }
    }

    /// Reads text that starts with a tag which is none, because a backslash stands before it.
    fn escaped(&mut self) {
        let from = self.rest.chars().take(2).map(char::len_utf8).sum();
        let next = self.rest[from..].find("{{").map(|at| {
            let text = &self.rest[from..from + at];
            let backslashes = text.len() - text.trim_end_matches('\\').len();
            from + at - backslashes.min(2)
        });
        let text = self.take(next.unwrap_or(self.rest.len()));
        self.content(text);
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn eat(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Reads a tag, from its braces to its braces.
    fn tag(&mut self) -> Result<(), Failure> {
        if self.rest.starts_with("{{{{") {
            self.rest = &self.rest[4..];
            self.tokens.push(Token::OpenRaw);
            return self.inside();
        }
        self.rest = &self.rest[2..];
        let has_left_tilde = self.eat("~");
        let flags = Flags::left(has_left_tilde);
        let token = match self.rest.as_bytes().first() {
            Some(b'>') => self.marked(1, Token::OpenPartial(flags)),
            Some(b'#') if self.rest.starts_with("#>") => self.marked(2, Token::OpenPartialBlock(flags)),
            Some(b'#') => {
                self.take(1);
                let has_star = self.eat("*");
                Token::OpenBlock(Flags { has_star, ..flags })
            }
            Some(b'/') => self.marked(1, Token::OpenEndBlock(flags)),
            Some(b'!') => return self.comment(has_left_tilde),
            _ => match self.inverse(flags) {
                Some(token @ Token::Inverse(_)) => {
                    self.tokens.push(token);
                    return Ok(());
                }
                Some(token) => token,
                None if self.eat("{") => Token::OpenUnescaped(flags),
                None if self.eat("&") => Token::Open(Flags { has_ampersand: true, ..flags }),
                None => {
                    let has_star = self.eat("*");
                    Token::Open(Flags { has_star, ..flags })
                }
            },
        };
        self.tokens.push(token);
        self.inside()
    }

    fn marked(&mut self, length: usize, token: Token) -> Token {
        self.take(length);
        token
    }

    /// Reads `^` or `else`, alone or before a call.
    fn inverse(&mut self, flags: Flags) -> Option<Token> {
        let after = match self.rest.strip_prefix('^') {
            Some(after) => after,
            None => {
                let after = self.rest.trim_start_matches(is_space).strip_prefix("else")?;
                let is_word = after.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
                (!is_word).then_some(after)?
            }
        };
        let is_caret = self.rest.starts_with('^');
        let closing = after.trim_start_matches(is_space);
        let (closing, has_right_tilde) = match closing.strip_prefix('~') {
            Some(closing) => (closing, true),
            None => (closing, false),
        };
        if let Some(rest) = closing.strip_prefix("}}") {
            self.rest = rest;
            return Some(Token::Inverse(Flags { has_right_tilde, ..flags }));
        }
        self.rest = after;
        Some(if is_caret { Token::OpenInverse(flags) } else { Token::OpenInverseChain(flags) })
    }

    fn comment(&mut self, has_left_tilde: bool) -> Result<(), Failure> {
        let unclosed = || Failure::new("a comment is not closed");
        let end = if self.rest.starts_with("!--") {
            // The dashes of the opening may be those of the end: {{!--}}.
            let at = |end: &str| self.rest[1..].find(end).map(|at| at + 1 + end.len());
            match (at("--}}"), at("--~}}")) {
                (Some(a), Some(b)) => a.min(b),
                (a, b) => a.or(b).ok_or_else(unclosed)?,
            }
        } else {
            self.rest.find("}}").map(|at| at + 2).ok_or_else(unclosed)?
        };
        let has_right_tilde = self.take(end).ends_with("~}}");
        self.tokens.push(Token::Comment(Flags { has_left_tilde, has_right_tilde, ..Flags::default() }));
        Ok(())
    }

    /// Reads what stands in a tag, and the tag's end.
    fn inside(&mut self) -> Result<(), Failure> {
        loop {
            self.rest = self.rest.trim_start_matches(is_space);
            if self.rest.is_empty() {
                return Err(Failure::new("a tag is not closed: }} is missing"));
            }
            if self.close()? {
                return Ok(());
            }
            let token = self.punctuation().or_else(|| self.literal()).or_else(|| self.name());
            match token {
                Some(token) => self.tokens.push(token),
                None => {
                    let what = self.rest.chars().next().unwrap_or_default();
                    return Err(Failure::new(format!("{what:?} cannot stand here in a tag")));
                }
            }
        }
    }

    /// Reads the end of the tag, if it is one.
    fn close(&mut self) -> Result<bool, Failure> {
        if self.eat("}}}}") {
            self.tokens.push(Token::CloseRaw);
            self.raw()?;
            return Ok(true);
        }
        for (text, has_right_tilde, is_unescaped) in
            [("}}}", false, true), ("}~}}", true, true), ("}}", false, false), ("~}}", true, false)]
        {
            if self.eat(text) {
                let flags = Flags { has_right_tilde, ..Flags::default() };
                self.tokens.push(if is_unescaped {
                    Token::CloseUnescaped(flags)
                } else {
                    Token::Close(flags)
                });
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the content of a raw block, and its end.
    fn raw(&mut self) -> Result<(), Failure> {
        let mut depth = 1_usize;
        let mut content = String::new();
        loop {
            let at = self.rest.find("{{{{").ok_or_else(|| Failure::new("a raw block is not closed"))?;
            content.push_str(self.take(at));
            let name = self.rest[4..].strip_prefix('/').and_then(|rest| Some((rest, rest.find("}}}}")?)));
            match name {
                Some((rest, end)) if rest[..end].chars().all(is_id) && end > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        self.content(&content);
                        self.tokens.push(Token::EndRaw(rest[..end].to_owned()));
                        self.rest = &rest[end + 4..];
                        return Ok(());
                    }
                    content.push_str(self.take(end + 9));
                }
                Some(_) => return Err(Failure::new("the end of a raw block has no name")),
                None => {
                    depth += 1;
                    content.push_str(self.take(4));
                }
            }
        }
    }

    fn punctuation(&mut self) -> Option<Token> {
        if self.rest.starts_with("..") {
            self.take(2);
            return Some(Token::Id { name: "..".to_owned(), is_bracketed: false });
        }
        if self.rest.starts_with('.') && ends_id(&self.rest[1..]) {
            self.take(1);
            return Some(Token::Id { name: ".".to_owned(), is_bracketed: false });
        }
        if let Some(after) = self.rest.strip_prefix("as") {
            let bar = after.trim_start_matches(is_space);
            if bar.len() < after.len() && bar.starts_with('|') {
                self.rest = &bar[1..];
                return Some(Token::OpenParameters);
            }
        }
        let token = match self.rest.as_bytes()[0] {
            b'(' => Token::OpenCall,
            b')' => Token::CloseCall,
            b'=' => Token::Equals,
            b'/' | b'.' => Token::Separator,
            b'@' => Token::Data,
            b'|' => Token::CloseParameters,
            _ => return None,
        };
        self.take(1);
        Some(token)
    }

    fn literal(&mut self) -> Option<Token> {
        if let Some(quote @ (b'"' | b'\'')) = self.rest.as_bytes().first() {
            return self.quoted(char::from(*quote));
        }
        let end = self.rest.find(|c: char| is_space(c) || matches!(c, '~' | '}' | ')'))?;
        let token = match &self.rest[..end] {
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            "undefined" => Token::Undefined,
            "null" => Token::Null,
            word if is_number(word) => Token::Number(word.to_owned()),
            _ => return None,
        };
        self.take(end);
        Some(token)
    }

    /// Reads text in quotes; a backslash keeps the quote after it from ending it, if another does.
    fn quoted(&mut self, quote: char) -> Option<Token> {
        let body = &self.rest[1..];
        let mut last = None;
        for (at, _) in body.match_indices(quote) {
            last = Some(at);
            if !body[..at].ends_with('\\') {
                break;
            }
        }
        let text = body[..last?].replace(&format!("\\{quote}"), &quote.to_string());
        self.take(last? + 2);
        Some(Token::Text(text))
    }

    fn name(&mut self) -> Option<Token> {
        if self.rest.starts_with('[') {
            let body = &self.rest[1..];
            let mut last = None;
            for (at, _) in body.match_indices(']') {
                last = Some(at);
                if !body[..at].ends_with('\\') {
                    break;
                }
            }
            let name = unescape_bracketed(&body[..last?]);
            self.take(last? + 2);
            return Some(Token::Id { name, is_bracketed: true });
        }
        let end = self.rest.find(|c| !is_id(c)).unwrap_or(self.rest.len());
        if end == 0 || !ends_id(&self.rest[end..]) {
            return None;
        }
        Some(Token::Id { name: self.take(end).to_owned(), is_bracketed: false })
    }
}

fn unescape_bracketed(text: &str) -> String {
    let mut name = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match characters.peek() {
            Some(&next @ ('\\' | ']')) if character == '\\' => {
                characters.next();
                name.push(next);
            }
            _ => name.push(character),
        }
    }
    name
}

fn is_number(word: &str) -> bool {
    let word = word.strip_prefix('-').unwrap_or(word);
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match word.split_once('.') {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(word),
    }
}

/// Whether a name may end before `rest`.
fn ends_id(rest: &str) -> bool {
    rest.chars().next().is_some_and(|c| is_space(c) || matches!(c, '=' | '~' | '}' | '/' | '.' | ')' | '|'))
}

/// Whether `character` may stand in a name.
fn is_id(character: char) -> bool {
    !is_space(character)
        && !matches!(character, '!' | '"' | '#' | '%'..=',' | '.' | '/' | ';'..='>' | '@' | '['..='^' | '`' | '{'..='~')
}
