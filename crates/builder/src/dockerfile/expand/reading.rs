//! One pass over a text: quotes, escapes, and what follows a `$`.

use std::collections::BTreeSet;

use super::super::pattern;
use super::{ExpandError, Lexer, Lookup, MAX_BYTES, MAX_DEPTH, Quotes};

/// The text so far, as one word and as several.
#[derive(Default)]
pub(super) struct Words {
    pub text: String,
    pub done: Vec<String>,
    word: String,
    in_word: bool,
}

impl Words {
    /// Adds a character that splits words where it is a space.
    fn split(&mut self, character: char) {
        self.text.push(character);
        if !character.is_whitespace() {
            self.word.push(character);
            self.in_word = true;
        } else if self.in_word && !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
            self.in_word = false;
        }
    }

    fn split_all(&mut self, text: &str) {
        text.chars().for_each(|character| self.split(character));
    }

    /// Adds text that is part of the word whatever it holds.
    fn keep(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
        self.in_word = true;
    }

    fn keep_char(&mut self, character: char) {
        self.keep(character.encode_utf8(&mut [0; 4]));
    }

    pub fn finish(mut self) -> Self {
        if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
        self
    }
}

pub(super) struct Reading<'a> {
    pub lexer: Lexer,
    pub lookup: Lookup<'a>,
    pub text: Vec<char>,
    pub at: usize,
    pub depth: usize,
    pub used: BTreeSet<String>,
    pub undefined: BTreeSet<String>,
}

impl Reading<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += 1;
        Some(character)
    }

    /// Reads up to `stop`, or to the end where there is none.
    pub fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<Words, ExpandError> {
        let mut words = Words::default();
        while let Some(character) = self.next() {
            match character {
                _ if stop == Some(character) => return Ok(words),
                '$' => {
                    let value = self.dollar()?;
                    words.split_all(&value);
                }
                '\'' if self.lexer.quotes != Quotes::Ordinary => words.keep(&self.single_quoted()?),
                '"' if self.lexer.quotes != Quotes::Ordinary => words.keep(&self.double_quoted(raw_escapes)?),
                _ if character == self.lexer.escape => {
                    if raw_escapes {
                        words.keep_char(character);
                    }
                    match self.next() {
                        Some(escaped) => words.keep_char(escaped),
                        None => break,
                    }
                }
                _ => words.split(character),
            }
            if words.text.len() > MAX_BYTES {
                return Err(ExpandError::TooLong);
            }
        }
        match stop {
            None => Ok(words),
            Some('/') => Err(ExpandError::MissingSlash),
            Some(_) => Err(ExpandError::MissingBrace),
        }
    }

    /// Everything up to the next single quote stands for itself.
    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        while let Some(character) = self.next() {
            if character == '\'' {
                let inner: String = self.text[start..self.at - 1].iter().collect();
                return Ok(self.requote('\'', inner));
            }
        }
        Err(ExpandError::MissingQuote('\''))
    }

    /// Variables are expanded; the escape character escapes only `"`, `$` and itself.
    fn double_quoted(&mut self, raw_escapes: bool) -> Result<String, ExpandError> {
        let mut inner = String::new();
        while let Some(character) = self.next() {
            match character {
                '"' => return Ok(self.requote('"', inner)),
                '$' => inner.push_str(&self.dollar()?),
                _ if character == self.lexer.escape => {
                    if raw_escapes {
                        inner.push(character);
                    }
                    match self.peek() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.lexer.escape => {
                            self.at += 1;
                            inner.push(next);
                        }
                        Some(_) if !raw_escapes => inner.push(character),
                        Some(_) => {}
                    }
                }
                _ => inner.push(character),
            }
            if inner.len() > MAX_BYTES {
                return Err(ExpandError::TooLong);
            }
        }
        Err(ExpandError::MissingQuote('"'))
    }

    fn requote(&self, quote: char, inner: String) -> String {
        if self.lexer.quotes == Quotes::Raw { format!("{quote}{inner}{quote}") } else { inner }
    }

    /// What follows a `$`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        if self.peek() == Some('{') {
            self.at += 1;
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(ExpandError::TooDeep);
            }
            let value = self.braced();
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.value(&name) {
            None if self.lexer.keep_unset => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default()),
        }
    }

    /// What follows `${`.
    fn braced(&mut self) -> Result<String, ExpandError> {
        let name = match self.peek() {
            None => return Err(ExpandError::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandError::NoName),
            Some(_) => self.name(),
        };
        let modifier = self.next().ok_or(ExpandError::MissingBrace)?;
        match modifier {
            '}' => match self.value(&name) {
                None if self.lexer.keep_unset => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            _ if name.is_empty() => Err(ExpandError::NoName),
            ':' => {
                let modifier = self.next().ok_or(ExpandError::MissingBrace)?;
                self.modified(&name, modifier, true)
            }
            '/' => self.replaced(&name),
            _ => self.modified(&name, modifier, false),
        }
    }

    /// What follows `${name` and one of `- + ? # %`, with a colon between them or not.
    fn modified(&mut self, name: &str, modifier: char, colon: bool) -> Result<String, ExpandError> {
        let written = || if colon { format!(":{modifier}") } else { modifier.to_string() };
        let known = matches!(modifier, '-' | '+' | '?') || (!colon && matches!(modifier, '#' | '%'));
        if !known {
            return Err(ExpandError::UnsupportedModifier { name: name.to_owned(), modifier: written() });
        }
        let word = self.until(Some('}'), matches!(modifier, '#' | '%'))?.text;
        let value = self.value(name);
        if value.is_none() && self.lexer.keep_unset {
            return Ok(format!("${{{name}{}{word}}}", written()));
        }
        let present = value.as_ref().is_some_and(|value| !colon || !value.is_empty());
        let value = value.unwrap_or_default();
        match modifier {
            '-' if present => Ok(value),
            '+' if !present => Ok(String::new()),
            '-' | '+' => Ok(word),
            '?' if present => Ok(value),
            '?' => {
                let standing = if colon { "it must be set and not empty" } else { "it must be set" };
                let message = if word.is_empty() { standing.to_owned() } else { word };
                Err(ExpandError::Required { name: name.to_owned(), message })
            }
            _ => {
                let (pattern, longest) = match word.strip_prefix(modifier) {
                    Some(pattern) => (pattern, true),
                    None => (&word[..], false),
                };
                let trimmed = match modifier {
                    '#' => pattern::trim_start(&value, pattern, longest),
                    _ => pattern::trim_end(&value, pattern, longest),
                };
                trimmed.map_err(|reason| ExpandError::BadPattern { pattern: pattern.to_owned(), reason })
            }
        }
    }

    /// What follows `${name/`.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.at += 1;
        }
        let pattern = self.until(Some('/'), true)?.text;
        let replacement = self.until(Some('}'), true)?.text;
        let value = self.value(name);
        if value.is_none() && self.lexer.keep_unset {
            let slash = if all { "//" } else { "/" };
            return Ok(format!("${{{name}{slash}{pattern}/{replacement}}}"));
        }
        let replaced = pattern::replace(&value.unwrap_or_default(), &pattern, &replacement, all)
            .map_err(|reason| ExpandError::BadPattern { pattern, reason })?;
        if replaced.len() > MAX_BYTES { Err(ExpandError::TooLong) } else { Ok(replaced) }
    }

    /// Reads a variable's name: letters, digits and `_`; digits alone; or one of the shell's special
    /// parameters.
    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(first) if first.is_ascii_digit() => {
                while self.peek().is_some_and(|c| c.is_ascii_digit()) {
                    self.at += 1;
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.at += 1,
            _ => {
                while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    self.at += 1;
                }
            }
        }
        self.text[start..self.at].iter().collect()
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        let seen = if value.is_some() { &mut self.used } else { &mut self.undefined };
        seen.insert(name.to_owned());
        value
    }
}
