//! Patterns of path names, compiled once and matched in one pass over the name.
//!
//! | in a pattern | matches |
//! |---|---|
//! | `*` | any run of characters but `/` |
//! | `?` | any character but `/` |
//! | `[a-z]` `[^a-z]` | a character of the set, or not of it |
//! | `\c` | the character `c` |
//! | `**` at the end | everything |
//! | `**` or `**/` elsewhere | nothing, or everything up to a `/` |
//!
//! The last two lines hold where the pattern is compiled with [`DoubleStar::Special`]; elsewhere `**`
//! is two stars. All states are followed side by side, so no pattern takes more than its length times
//! the name's.
//!
//! Source: Go, path/filepath.Match; moby's patternmatcher.

/// Whether `**` crosses folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoubleStar {
    /// As in `.dockerignore`.
    Special,
    /// As in COPY.
    Ordinary,
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wildcard {
    tokens: Vec<Token>,
    /// What every match starts and ends with.
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    /// Whether the prefix is all there is.
    literal: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    One,
    Run,
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Everything that is left.
    Tail,
    /// Skips to after `Folders`, or goes into it.
    FoldersOrNone,
    /// Characters up to any `/`.
    Folders,
}

impl Wildcard {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn compile(pattern: &str, double_star: DoubleStar) -> Result<Self, &'static str> {
        let mut tokens = Vec::new();
        let mut rest = pattern.chars().peekable();
        while let Some(character) = rest.next() {
            match character {
                '*' if double_star == DoubleStar::Special && rest.next_if_eq(&'*').is_some() => {
                    rest.next_if_eq(&'/');
                    match rest.peek() {
                        None => tokens.push(Token::Tail),
                        Some(_) => tokens.extend([Token::FoldersOrNone, Token::Folders]),
                    }
                }
                '*' => tokens.push(Token::Run),
                '?' => tokens.push(Token::One),
                '[' => tokens.push(set(&mut rest)?),
                '\\' => tokens.push(Token::Literal(rest.next().ok_or("it ends in a backslash")?)),
                literal => tokens.push(Token::Literal(literal)),
            }
        }
        Ok(Self::new(tokens))
    }

    fn new(tokens: Vec<Token>) -> Self {
        fn literals<'a>(tokens: impl Iterator<Item = &'a Token>) -> Vec<char> {
            tokens
                .map_while(|token| if let Token::Literal(one) = token { Some(*one) } else { None })
                .collect()
        }
        let prefix = literals(tokens.iter());
        let suffix = literals(tokens.iter().rev());
        let literal = prefix.len() == tokens.len();
        let prefix: String = prefix.into_iter().collect();
        let suffix: String = suffix.into_iter().rev().collect();
        Self { tokens, prefix: prefix.into_bytes(), suffix: suffix.into_bytes(), literal }
    }

    /// Whether the pattern matches the whole name.
    pub fn matches(&self, name: &[u8]) -> bool {
        if self.literal {
            return self.prefix == name;
        }
        name.starts_with(&self.prefix) && name.ends_with(&self.suffix) && {
            let mut states = States::start(self);
            states.read(name);
            states.accept()
        }
    }

    /// Whether the pattern may match something in the folder `folder` or deeper.
    pub fn may_match_below(&self, folder: &[u8]) -> bool {
        let shared = self.prefix.len().min(folder.len());
        if self.prefix[..shared] != folder[..shared] {
            return false;
        }
        let mut states = States::start(self);
        states.read(folder);
        states.read(b"/");
        states.can_go_on()
    }
}

/// Reads a set after its `[`.
fn set(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Ok(Token::Set { negated, ranges });
        }
        let low = set_member(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() { set_member(rest)? } else { low };
        ranges.push((low, high));
    }
}

fn set_member(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, &'static str> {
    match rest.next() {
        None => Err("a [ is not closed"),
        Some('-') => Err("a - in [...] stands for itself only as \\-"),
        Some(']') => Err("a ] in [...] stands for itself only as \\]"),
        Some('\\') => rest.next().ok_or("it ends in a backslash"),
        Some(member) => Ok(member),
    }
}

/// The places of the pattern that the name read so far may have come to.
struct States<'a> {
    tokens: &'a [Token],
    active: Vec<bool>,
    next: Vec<bool>,
}

impl<'a> States<'a> {
    fn start(wildcard: &'a Wildcard) -> Self {
        let size = wildcard.tokens.len() + 1;
        let mut states =
            Self { tokens: &wildcard.tokens, active: vec![false; size], next: vec![false; size] };
        enter(states.tokens, &mut states.active, 0);
        states
    }

    fn read(&mut self, name: &[u8]) {
        for chunk in name.utf8_chunks() {
            chunk.valid().chars().for_each(|character| self.step(character));
            // Every byte that is not UTF-8 is a character of its own.
            chunk.invalid().iter().for_each(|_| self.step(char::REPLACEMENT_CHARACTER));
        }
    }

    fn step(&mut self, character: char) {
        self.next.fill(false);
        for (at, token) in self.tokens.iter().enumerate().filter(|(at, _)| self.active[*at]) {
            let forward = match token {
                Token::Literal(literal) => *literal == character,
                Token::One => character != '/',
                Token::Set { negated, ranges } => {
                    ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
                }
                Token::Run => {
                    if character != '/' {
                        enter(self.tokens, &mut self.next, at);
                    }
                    false
                }
                Token::Tail => {
                    enter(self.tokens, &mut self.next, at);
                    false
                }
                Token::FoldersOrNone => false,
                Token::Folders => {
                    self.next[at] = true;
                    character == '/'
                }
            };
            if forward {
                enter(self.tokens, &mut self.next, at + 1);
            }
        }
        std::mem::swap(&mut self.active, &mut self.next);
    }

    fn accept(&self) -> bool {
        self.active[self.tokens.len()]
    }

    fn can_go_on(&self) -> bool {
        self.active[..self.tokens.len()].contains(&true)
    }
}

/// Marks a state and all that are reached from it without a character.
fn enter(tokens: &[Token], states: &mut [bool], mut state: usize) {
    while !states[state] {
        states[state] = true;
        match tokens.get(state) {
            Some(Token::Run | Token::Tail) => state += 1,
            Some(Token::FoldersOrNone) => {
                states[state + 1] = true;
                state += 2;
            }
            _ => return,
        }
    }
}
