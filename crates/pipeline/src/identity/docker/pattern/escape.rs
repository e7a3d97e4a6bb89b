//! What a backslash begins.

use super::Node;
use super::class;
use super::parse::{Atom, Parser};

impl Parser<'_> {
    /// Reads what follows a backslash outside of a class.
    pub(super) fn escape(&mut self) -> Result<Node, String> {
        let Some(letter) = self.rest.peek().copied() else { return Err("\\ at end of pattern".to_owned()) };
        match letter {
            'b' | 'B' => {
                self.rest.next();
                return Ok(Node::Boundary { is_negated: letter == 'B' });
            }
            '1'..='9' => {
                if let Some(node) = self.back_reference()? {
                    return Ok(node);
                }
            }
            'k' if self.flags.is_unicode || self.has_names => {
                self.rest.next();
                return self.named_back_reference();
            }
            'c' => return Ok(Node::Character(self.control(false)?)),
            _ => {}
        }
        Ok(match self.set_or_character()? {
            Atom::Character(character) => Node::Character(character),
            Atom::Set(ranges) => self.class(ranges, false),
        })
    }

    /// Reads a number as a reference, if there are so many groups.
    fn back_reference(&mut self) -> Result<Option<Node>, String> {
        let before = self.rest.clone();
        let number = self.number().unwrap_or(u32::MAX) as usize;
        if number <= self.names.len() {
            return Ok(Some(Node::Back(vec![number])));
        }
        self.rest = before;
        if self.flags.is_unicode { Err("Invalid escape".to_owned()) } else { Ok(None) }
    }

    fn named_back_reference(&mut self) -> Result<Node, String> {
        let invalid = || "Invalid named reference".to_owned();
        if !self.eat('<') {
            return Err(invalid());
        }
        let mut name = String::new();
        while let Some(character) = self.rest.next_if(|character| *character != '>') {
            name.push(character);
        }
        let of_name =
            |(at, known): (usize, &Option<String>)| (known.as_deref() == Some(&name)).then_some(at + 1);
        let numbers: Vec<usize> = self.names.iter().enumerate().filter_map(of_name).collect();
        if !self.eat('>') || numbers.is_empty() {
            return Err("Invalid named capture referenced".to_owned());
        }
        Ok(Node::Back(numbers))
    }

    /// Reads `\cX`, where the backslash has been taken; a backslash where it is none.
    pub(super) fn control(&mut self, in_class: bool) -> Result<char, String> {
        let mut ahead = self.rest.clone();
        ahead.next();
        let is_unicode = self.flags.is_unicode;
        let more = |c: char| in_class && !is_unicode && (c.is_ascii_digit() || c == '_');
        match ahead.next() {
            Some(letter) if letter.is_ascii_alphabetic() || more(letter) => {
                self.rest = ahead;
                Ok(char::from(letter as u8 % 32))
            }
            _ if is_unicode => Err("Invalid Unicode escape".to_owned()),
            _ => Ok('\\'),
        }
    }

    pub(super) fn set_or_character(&mut self) -> Result<Atom, String> {
        let letter = self.rest.next().unwrap_or('\\');
        if let Some(ranges) = class::escape(letter, self.flags) {
            return Ok(Atom::Set(ranges));
        }
        let is_unicode = self.flags.is_unicode;
        Ok(Atom::Character(match letter {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'f' => '\u{c}',
            'p' | 'P' if is_unicode => return self.property(letter == 'P'),
            'x' => match self.hexadecimal(2) {
                Some(character) => character,
                None if is_unicode => return Err("Invalid escape".to_owned()),
                None => 'x',
            },
            'u' => self.unicode_escape()?,
            '0' if !self.rest.peek().is_some_and(char::is_ascii_digit) => '\0',
            '0'..='9' if is_unicode => return Err("Invalid decimal escape".to_owned()),
            '0'..='7' => self.octal(letter),
            other if is_unicode && !"^$\\.*+?()[]{}|/".contains(other) => {
                return Err("Invalid escape".to_owned());
            }
            other => other,
        }))
    }

    fn octal(&mut self, first: char) -> char {
        let mut value = first.to_digit(8).unwrap_or_default();
        let digits = if first <= '3' { 2 } else { 1 };
        for _ in 0..digits {
            let Some(digit) = self.rest.peek().and_then(|character| character.to_digit(8)) else { break };
            self.rest.next();
            value = value * 8 + digit;
        }
        char::from_u32(value).unwrap_or_default()
    }

    fn hexadecimal(&mut self, digits: usize) -> Option<char> {
        let mut ahead = self.rest.clone();
        let mut value = 0;
        for _ in 0..digits {
            value = value * 16 + ahead.next()?.to_digit(16)?;
        }
        let character = char::from_u32(value)?;
        self.rest = ahead;
        Some(character)
    }

    fn unicode_escape(&mut self) -> Result<char, String> {
        if self.flags.is_unicode && self.eat('{') {
            let mut text = String::new();
            while let Some(digit) = self.rest.next_if(char::is_ascii_hexdigit) {
                text.push(digit);
            }
            let character = u32::from_str_radix(&text, 16).ok().and_then(char::from_u32);
            return match (self.eat('}'), character) {
                (true, Some(character)) => Ok(character),
                _ => Err("Invalid Unicode escape".to_owned()),
            };
        }
        match self.hexadecimal(4) {
            Some(character) => Ok(character),
            None if self.flags.is_unicode => Err("Invalid Unicode escape".to_owned()),
            None => Ok('u'),
        }
    }

    fn property(&mut self, is_negated: bool) -> Result<Atom, String> {
        let invalid = || "Invalid property name".to_owned();
        if !self.eat('{') {
            return Err(invalid());
        }
        let mut name = String::new();
        while let Some(character) = self.rest.next_if(|character| *character != '}') {
            name.push(character);
        }
        if !self.eat('}') {
            return Err(invalid());
        }
        let ranges = class::property(&name).ok_or_else(invalid)?;
        Ok(Atom::Set(if is_negated { class::negate(&ranges) } else { ranges }))
    }
}
