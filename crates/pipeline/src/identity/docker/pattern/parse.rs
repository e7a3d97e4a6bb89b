//! Text to nodes.

use std::iter::Peekable;
use std::str::Chars;

use super::class::{self, Class};
use super::{Flags, Node, Repeat};

/// How deep groups may stand in each other.
const MAX_DEPTH: usize = 64;

/// How many nodes an expression may have.
const MAX_NODES: usize = 20_000;

/// Reads an expression; gives its number of groups too, the whole match being one.
pub(super) fn parse(source: &str, flags: Flags) -> Result<(Node, usize), String> {
    let names = names(source);
    let mut parser = Parser {
        rest: source.chars().peekable(),
        flags,
        has_names: names.iter().any(Option::is_some),
        names,
        groups: 1,
        depth: 0,
        nodes: 0,
    };
    let root = parser.choice()?;
    match parser.rest.peek() {
        None => {}
        Some(_) => return Err("Unmatched ')'".to_owned()),
    }
    Ok((root, parser.groups))
}

/// Returns the groups of `source` in order, with the names of those that have one.
fn names(source: &str) -> Vec<Option<String>> {
    let mut names = Vec::new();
    let mut rest = source;
    let mut in_class = false;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        match character {
            '\\' => {
                rest = after.chars().next().map_or("", |next| &after[next.len_utf8()..]);
                continue;
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => match after.strip_prefix("?<") {
                Some(name) if !name.starts_with(['=', '!']) => {
                    names.push(name.split_once('>').map(|(name, _)| name.to_owned()));
                }
                _ if !after.starts_with('?') => names.push(None),
                _ => {}
            },
            _ => {}
        }
        rest = after;
    }
    names
}

pub(super) struct Parser<'a> {
    pub(super) rest: Peekable<Chars<'a>>,
    pub(super) flags: Flags,
    pub(super) names: Vec<Option<String>>,
    pub(super) has_names: bool,
    groups: usize,
    depth: usize,
    nodes: usize,
}

/// What a part of a class is: one character, which may begin a range, or a set.
pub(super) enum Atom {
    Character(char),
    Set(Vec<(char, char)>),
}

impl Parser<'_> {
    pub(super) fn eat(&mut self, expected: char) -> bool {
        self.rest.next_if_eq(&expected).is_some()
    }

    fn eat_all(&mut self, expected: &str) -> bool {
        let mut ahead = self.rest.clone();
        if expected.chars().all(|character| ahead.next() == Some(character)) {
            self.rest = ahead;
            return true;
        }
        false
    }

    fn choice(&mut self) -> Result<Node, String> {
        let mut branches = vec![self.sequence()?];
        while self.eat('|') {
            branches.push(self.sequence()?);
        }
        Ok(match branches.len() {
            1 => branches.remove(0),
            _ => Node::Choice(branches),
        })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        while let Some(next) = self.rest.peek() {
            if matches!(next, '|' | ')') {
                break;
            }
            nodes.push(self.term()?);
        }
        Ok(match nodes.len() {
            0 => Node::Empty,
            1 => nodes.remove(0),
            _ => Node::Sequence(nodes),
        })
    }

    fn term(&mut self) -> Result<Node, String> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(format!("it has more than {MAX_NODES} parts"));
        }
        let first = self.groups;
        let node = self.atom()?;
        let can_repeat = match &node {
            Node::Start | Node::End | Node::Boundary { .. } => false,
            Node::Look { is_behind, .. } => !is_behind && !self.flags.is_unicode,
            _ => true,
        };
        let Some((min, max)) = self.quantifier()? else { return Ok(node) };
        if !can_repeat {
            return Err("Nothing to repeat".to_owned());
        }
        if min > max {
            return Err("numbers out of order in {} quantifier".to_owned());
        }
        let is_greedy = !self.eat('?');
        Ok(Node::Repeat(Box::new(Repeat { node, min, max, is_greedy, groups: first..self.groups })))
    }

    fn quantifier(&mut self) -> Result<Option<(u32, u32)>, String> {
        Ok(match self.rest.peek() {
            Some('*') => self.simple((0, u32::MAX)),
            Some('+') => self.simple((1, u32::MAX)),
            Some('?') => self.simple((0, 1)),
            Some('{') => match self.braces() {
                Some(range) => Some(range),
                None if self.flags.is_unicode => return Err("Incomplete quantifier".to_owned()),
                None => None,
            },
            _ => None,
        })
    }

    fn simple(&mut self, range: (u32, u32)) -> Option<(u32, u32)> {
        self.rest.next();
        Some(range)
    }

    /// Reads `{2}`, `{2,}`, `{2,3}`; takes nothing where it is none of them.
    fn braces(&mut self) -> Option<(u32, u32)> {
        let before = self.rest.clone();
        let range = self.braces_or_not();
        if range.is_none() {
            self.rest = before;
        }
        range
    }

    fn braces_or_not(&mut self) -> Option<(u32, u32)> {
        if !self.eat('{') {
            return None;
        }
        let min = self.number()?;
        let max = if !self.eat(',') {
            min
        } else if self.rest.peek() == Some(&'}') {
            u32::MAX
        } else {
            self.number()?
        };
        self.eat('}').then_some((min, max))
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        let mut number = None;
        while let Some(digit) = self.rest.peek().and_then(|character| character.to_digit(10)) {
            self.rest.next();
            number = Some(number.unwrap_or(0_u32).saturating_mul(10).saturating_add(digit));
        }
        number
    }

    fn atom(&mut self) -> Result<Node, String> {
        let Some(character) = self.rest.next() else { return Ok(Node::Empty) };
        Ok(match character {
            '^' => Node::Start,
            '$' => Node::End,
            '.' if self.flags.dot_is_all => self.class(Vec::new(), true),
            '.' => self.class(class::ends_of_line(), true),
            '(' => self.group()?,
            '[' => self.brackets()?,
            '\\' => self.escape()?,
            '*' | '+' | '?' => return Err("Nothing to repeat".to_owned()),
            '{' if self.flags.is_unicode || self.would_repeat() => return Err("Nothing to repeat".to_owned()),
            ']' | '}' if self.flags.is_unicode => return Err(format!("Lone {character}")),
            other => Node::Character(other),
        })
    }

    /// Whether the brace that was just taken would have been a quantifier.
    fn would_repeat(&mut self) -> bool {
        let before = self.rest.clone();
        let text: String = std::iter::once('{').chain(self.rest.clone().take(24)).collect();
        let mut parser = Parser {
            rest: text.chars().peekable(),
            flags: self.flags,
            names: Vec::new(),
            has_names: false,
            groups: 0,
            depth: 0,
            nodes: 0,
        };
        let would = parser.braces_or_not().is_some();
        self.rest = before;
        would
    }

    pub(super) fn class(&self, ranges: Vec<(char, char)>, is_negated: bool) -> Node {
        Node::Class(Class::new(ranges, is_negated, self.flags))
    }

    fn group(&mut self) -> Result<Node, String> {
        if self.depth == MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} groups stand in each other"));
        }
        self.depth += 1;
        let look = |is_behind, is_negated| Some((is_behind, is_negated));
        let mut number = None;
        let look = if self.eat_all("?:") {
            None
        } else if self.eat_all("?=") {
            look(false, false)
        } else if self.eat_all("?!") {
            look(false, true)
        } else if self.eat_all("?<=") {
            look(true, false)
        } else if self.eat_all("?<!") {
            look(true, true)
        } else {
            if self.eat_all("?<") {
                self.group_name()?;
            } else if self.rest.peek() == Some(&'?') {
                return Err("Invalid group".to_owned());
            }
            number = Some(self.groups);
            self.groups += 1;
            None
        };
        let node = Box::new(self.choice()?);
        if !self.eat(')') {
            return Err("Unterminated group".to_owned());
        }
        self.depth -= 1;
        Ok(match (look, number) {
            (Some((is_behind, is_negated)), _) => Node::Look { node, is_behind, is_negated },
            (None, Some(number)) => Node::Group { node, number },
            // A group can be repeated, also where what is in it cannot.
            (None, None) => Node::Sequence(vec![*node]),
        })
    }

    fn group_name(&mut self) -> Result<(), String> {
        let mut name = String::new();
        loop {
            match self.rest.next() {
                Some('>') if !name.is_empty() => break,
                Some(character)
                    if character.is_alphabetic()
                        || matches!(character, '_' | '$')
                        || (character.is_numeric() && !name.is_empty()) =>
                {
                    name.push(character);
                }
                _ => return Err("Invalid capture group name".to_owned()),
            }
        }
        let earlier = &self.names[..(self.groups - 1).min(self.names.len())];
        if earlier.iter().any(|known| known.as_deref() == Some(&name)) {
            return Err("Duplicate capture group name".to_owned());
        }
        Ok(())
    }

    fn brackets(&mut self) -> Result<Node, String> {
        let is_negated = self.eat('^');
        let mut ranges = Vec::new();
        loop {
            if self.eat(']') {
                return Ok(self.class(ranges, is_negated));
            }
            let atom = self.class_atom()?;
            let mut ahead = self.rest.clone();
            let is_range = ahead.next() == Some('-') && !matches!(ahead.peek(), Some(']') | None);
            if !is_range {
                add(&mut ranges, atom);
                continue;
            }
            self.rest = ahead;
            let end = self.class_atom()?;
            match (atom, end) {
                (Atom::Character(from), Atom::Character(to)) if from > to => {
                    return Err("Range out of order in character class".to_owned());
                }
                (Atom::Character(from), Atom::Character(to)) => ranges.push((from, to)),
                _ if self.flags.is_unicode => return Err("Invalid character class".to_owned()),
                (atom, end) => {
                    add(&mut ranges, atom);
                    ranges.push(('-', '-'));
                    add(&mut ranges, end);
                }
            }
        }
    }

    fn class_atom(&mut self) -> Result<Atom, String> {
        let unterminated = || "Unterminated character class".to_owned();
        match self.rest.next().ok_or_else(unterminated)? {
            '\\' => {}
            other if self.flags.has_sets && "()[]{}/-|&".contains(other) => {
                return Err("sets in sets, as the flag v has them, are not supported".to_owned());
            }
            other => return Ok(Atom::Character(other)),
        }
        let letter = *self.rest.peek().ok_or_else(unterminated)?;
        match letter {
            'b' => {
                self.rest.next();
                Ok(Atom::Character('\u{8}'))
            }
            '-' if self.flags.is_unicode => {
                self.rest.next();
                Ok(Atom::Character('-'))
            }
            'c' => Ok(Atom::Character(self.control(true)?)),
            _ => self.set_or_character(),
        }
    }
}

fn add(ranges: &mut Vec<(char, char)>, atom: Atom) {
    match atom {
        Atom::Character(character) => ranges.push((character, character)),
        Atom::Set(set) => ranges.extend(set),
    }
}
