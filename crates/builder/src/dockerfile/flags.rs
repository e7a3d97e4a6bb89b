//! Which flags an instruction takes, and their values.

use super::DockerfileError;
use super::error::suggestion;
use super::parse::Reader;
use super::source::{Span, Word};
use super::words::Flag;

/// What a flag's value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Text; may be given several times.
    List,
    /// Nothing, `true` or `false`.
    Switch,
}

fn known(instruction: &str) -> &'static [(&'static str, Kind)] {
    use Kind::{List, Switch, Text};
    match instruction {
        "FROM" => &[("platform", Text)],
        "RUN" => &[("mount", List), ("network", Text), ("security", Text), ("device", List)],
        "COPY" => &[
            ("from", Text),
            ("chown", Text),
            ("chmod", Text),
            ("link", Switch),
            ("parents", Switch),
            ("exclude", List),
        ],
        "ADD" => &[
            ("chown", Text),
            ("chmod", Text),
            ("link", Switch),
            ("exclude", List),
            ("checksum", Text),
            ("keep-git-dir", Switch),
            ("unpack", Switch),
        ],
        "HEALTHCHECK" => &[
            ("interval", Text),
            ("timeout", Text),
            ("start-period", Text),
            ("start-interval", Text),
            ("retries", Text),
        ],
        _ => &[],
    }
}

/// The flags of one instruction, checked against what it takes.
pub(super) struct Flags(Vec<Flag>);

impl Flags {
    pub fn check(reader: &Reader<'_>, instruction: &str, flags: Vec<Flag>) -> Result<Self, DockerfileError> {
        let known = known(instruction);
        for (index, flag) in flags.iter().enumerate() {
            let Some((_, kind)) = known.iter().find(|(name, _)| *name == flag.name) else {
                return Err(unknown(reader, instruction, flag));
            };
            let name = &flag.name;
            if *kind != Kind::List && flags[..index].iter().any(|earlier| earlier.name == *name) {
                return Err(reader.error(flag.span, format!("--{name} is given twice")));
            }
            let value = flag.value.as_ref().map(Word::as_str);
            match (kind, value) {
                (Kind::Text | Kind::List, None) => {
                    let error = reader.error(flag.span, format!("--{name} needs a value"));
                    return Err(error.with_hint(format!("write --{name}=VALUE")));
                }
                (Kind::Switch, Some(value)) if switch(value).is_none() => {
                    let message = format!("--{name} is true or false, not {value:?}");
                    return Err(reader.error(flag.span, message));
                }
                _ => {}
            }
        }
        Ok(Self(flags))
    }

    /// Returns the value of a flag; an empty one counts as none.
    pub fn text(&self, name: &str) -> Option<Word> {
        self.list(name).pop().filter(|value| !value.text.is_empty())
    }

    /// Returns all values of a flag that may be repeated.
    pub fn list(&self, name: &str) -> Vec<Word> {
        let given = self.0.iter().filter(|flag| flag.name == name);
        given.filter_map(|flag| flag.value.clone()).collect()
    }

    /// Returns whether a switch is on or off, and where; `None` where it is not given.
    pub fn switch(&self, name: &str) -> Option<(bool, Span)> {
        let flag = self.0.iter().find(|flag| flag.name == name)?;
        let value = flag.value.as_ref().map_or(Some(true), |value| switch(&value.text));
        Some((value.unwrap_or(true), flag.span))
    }

    /// Returns where a switch is turned on.
    pub fn on(&self, name: &str) -> Option<Span> {
        self.switch(name).filter(|(on, _)| *on).map(|(_, span)| span)
    }
}

fn switch(value: &str) -> Option<bool> {
    match &value.to_ascii_lowercase()[..] {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn unknown(reader: &Reader<'_>, instruction: &str, flag: &Flag) -> DockerfileError {
    let names: Vec<&str> = known(instruction).iter().map(|(name, _)| *name).collect();
    let error = reader.error(flag.span, format!("{instruction} has no flag --{}", flag.name));
    match suggestion(&flag.name, &names) {
        Some(near) => error.with_hint(format!("did you mean --{near}?")),
        None if names.is_empty() => error.with_hint(format!("{instruction} takes no flags")),
        None => error.with_hint(format!("it takes --{}", names.join(", --"))),
    }
}
