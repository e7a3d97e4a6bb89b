//! The arguments of the simpler instructions: single values, lists, pairs, commands.

use std::ops::Range;

use super::DockerfileError;
use super::instruction::{Argument, CommandLine, Pairs};
use super::parse::Reader;
use super::source::{Span, Word};
use super::words::{self, NotJson};

impl Reader<'_> {
    /// The rest of the line as one word.
    pub(super) fn whole(&self, name: &str, range: Range<usize>) -> Result<Word, DockerfileError> {
        if range.is_empty() {
            return Err(self.error(self.line.span, format!("{name} needs a value")));
        }
        Ok(self.line.word(range))
    }

    pub(super) fn at_least_one(&self, name: &str, range: Range<usize>) -> Result<Vec<Word>, DockerfileError> {
        let words = words::split(self.line, range);
        if words.is_empty() {
            return Err(self.error(self.line.span, format!("{name} needs at least one value")));
        }
        Ok(words)
    }

    pub(super) fn arguments(&self, range: Range<usize>) -> Result<Vec<Argument>, DockerfileError> {
        let words = words::split_quoted(self.line, range, self.escape);
        if words.is_empty() {
            return Err(self.error(self.line.span, "ARG needs at least one name"));
        }
        let argument = |word: Word| match split_pair(&word) {
            Some((name, _)) if name.text.is_empty() => {
                Err(self.error(word.span, "ARG needs a name before ="))
            }
            Some((name, default)) => Ok(Argument { name, default: Some(default) }),
            None => Ok(Argument { name: word, default: None }),
        };
        words.into_iter().map(argument).collect()
    }

    /// The pairs of ENV and LABEL. Whether it is the old form shows in the first word: it has no `=`.
    pub(super) fn pairs(&self, name: &str, range: Range<usize>) -> Result<Pairs, DockerfileError> {
        let words = words::split_quoted(self.line, range.clone(), self.escape);
        let Some(first) = words.first() else {
            return Err(self.error(self.line.span, format!("{name} needs at least one NAME=value")));
        };
        if !first.text.contains('=') {
            let (key, value) = words::first(self.line, range.clone());
            if value.is_empty() {
                let error = self.error(self.line.span(range), format!("{name} {} has no value", first.text));
                return Err(error.with_hint(format!("write {name} {}=value", first.text)));
            }
            return Ok(Pairs { pairs: vec![(self.line.word(key), self.line.word(value))], legacy: true });
        }
        let pair = |word: &Word| match split_pair(word) {
            Some((key, _)) if key.text.is_empty() => {
                Err(self.error(word.span, format!("{name} needs a name before =")))
            }
            Some(pair) => Ok(pair),
            None => {
                let error = self.error(word.span, format!("{:?} has no =", word.text));
                Err(error.with_hint("every pair is NAME=value; quote a value that holds spaces"))
            }
        };
        Ok(Pairs { pairs: words.iter().map(pair).collect::<Result<_, _>>()?, legacy: false })
    }

    pub(super) fn shell(&self, range: Range<usize>) -> Result<Vec<Word>, DockerfileError> {
        match self.json(range.clone())? {
            Some(words) if !words.is_empty() => Ok(words),
            Some(_) => Err(self.error(self.line.span(range), "SHELL needs a program")),
            None => {
                let error = self.error(self.span_or_line(range), "SHELL takes the JSON form only");
                Err(error.with_hint(r#"write SHELL ["/bin/bash", "-c"]"#))
            }
        }
    }

    pub(super) fn volumes(&self, range: Range<usize>) -> Result<Vec<Word>, DockerfileError> {
        let words = match self.json(range.clone())? {
            Some(words) => words,
            None => words::split(self.line, range),
        };
        if words.is_empty() {
            return Err(self.error(self.line.span, "VOLUME needs at least one path"));
        }
        match words.iter().find(|word| word.text.trim().is_empty()) {
            Some(empty) => Err(self.error(empty.span, "the path of a VOLUME is empty")),
            None => Ok(words),
        }
    }

    /// The JSON form, or `None` where the text is of another form.
    pub(super) fn json(&self, range: Range<usize>) -> Result<Option<Vec<Word>>, DockerfileError> {
        match words::json(self.line, range.clone()) {
            Ok(words) => Ok(Some(words)),
            Err(NotJson::NoArray | NotJson::Malformed) => Ok(None),
            Err(NotJson::NotStrings) => {
                let error = self.error(self.line.span(range), "the JSON form holds strings only");
                Err(error.with_hint("put every element in double quotes"))
            }
        }
    }

    pub(super) fn command_line(
        &self,
        name: &str,
        range: Range<usize>,
    ) -> Result<CommandLine, DockerfileError> {
        // CMD and ENTRYPOINT alone are the shell with an empty command, as for BuildKit.
        if range.is_empty() && !matches!(name, "CMD" | "ENTRYPOINT") {
            return Err(self.error(self.line.span, format!("{name} needs a command")));
        }
        Ok(match self.json(range.clone())? {
            Some(words) => CommandLine::Exec(words),
            None => CommandLine::Shell(self.line.word(range)),
        })
    }
}

/// Splits a word at its first `=`. Spans stay right as long as no continuation lies inside; a name never
/// holds one.
fn split_pair(word: &Word) -> Option<(Word, Word)> {
    let (name, value) = word.text.split_once('=')?;
    let middle = word.span.start + name.len();
    let name_span = Span { end: middle, last_line: word.span.line, ..word.span };
    let value_span = Span { start: middle + 1, ..word.span };
    Some((Word { text: name.to_owned(), span: name_span }, Word { text: value.to_owned(), span: value_span }))
}
