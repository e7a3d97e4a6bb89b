//! The Dockerfile language: text to instructions, with the place of every word.
//!
//! This room owns reading (lines, directives, here-documents, flags, JSON forms), expansion of
//! variables, and the small languages inside: ports, modes, owners, signals, durations, mounts. It
//! leaves to the engine which variables a word sees and what an instruction does; what an engine does
//! not support is refused there, at the span it finds here.
//!
//! | file | holds |
//! |---|---|
//! | `source` | text, spans, words |
//! | `lex`, `directive`, `heredoc`, `words` | characters to words |
//! | `parse`, `flags`, `arguments`, `run`, `transfer`, `healthcheck` | words to instructions |
//! | `instruction`, `mount` | the instructions as values |
//! | `expand`, `pattern` | `$name` and its forms |
//! | `stages` | which stage needs which |
//! | `checks` | what is legal and most likely not meant |
//! | `chmod`, `owner`, `port`, `signal`, `duration` | the small languages |
//!
//! Source: the Dockerfile reference; BuildKit where the reference is silent.

mod arguments;
mod checks;
mod chmod;
mod directive;
mod duration;
mod error;
mod expand;
mod flags;
mod healthcheck;
mod heredoc;
mod instruction;
mod lex;
mod mount;
mod owner;
mod parse;
mod pattern;
mod port;
mod run;
mod signal;
mod source;
mod stages;
mod transfer;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use checks::CheckRules;
pub use chmod::Chmod;
pub use directive::Directives;
pub use duration::parse_duration;
pub use error::DockerfileError;
pub use expand::{ExpandError, Expansion, Lexer, Lookup};
pub use heredoc::Heredoc;
pub use instruction::{
    Add, Argument, Command, CommandLine, Copy, Healthcheck, HealthcheckOptions, Instruction, Network,
    Onbuild, Pairs, Program, Run, Security, Transfer,
};
pub use mount::{Access, Mount, MountFlag, MountKind, Sharing};
pub use owner::{Account, Owner};
pub use parse::parse_trigger;
pub use port::{Port, Protocol};
pub use signal::Signal;
pub use source::{Source, Span, Word};
pub use stages::{Origin, StageGraph};

/// A Dockerfile, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The text it was read from.
    pub source: Arc<Source>,
    /// The parser directives at its top.
    pub directives: Directives,
    /// The arguments declared before the first FROM, in order.
    pub global_args: Vec<Argument>,
    /// The stages in order; at least one.
    pub stages: Vec<Stage>,
    /// What is legal and most likely not meant.
    pub warnings: Vec<Warning>,
}

/// A build stage: a FROM and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its number, from 0.
    pub index: usize,
    /// Its name in lower case, where it has one; the span has it as written.
    pub name: Option<Word>,
    /// What it starts from: an image, an earlier stage, or `scratch`; to be expanded with global arguments.
    pub base: Word,
    /// `--platform=...`, to be expanded with global arguments.
    pub platform: Option<Word>,
    /// What follows the FROM.
    pub instructions: Vec<Instruction>,
    /// The keyword FROM as it is written.
    pub keyword: Word,
    /// The keyword AS as it is written.
    pub as_keyword: Option<Word>,
    /// The FROM line, continuations joined.
    pub original: String,
    /// Where the FROM stands.
    pub span: Span,
    /// The comments directly above.
    pub comments: Vec<String>,
}

/// Something legal that is most likely not meant, found while reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The name of the check, as BuildKit has it.
    pub rule: &'static str,
    /// What was found.
    pub message: String,
    /// Where.
    pub span: Span,
}

impl Dockerfile {
    /// Reads a Dockerfile; `name` is what messages call it.
    ///
    /// # Errors
    /// The first thing that breaks the language, with its place.
    pub fn parse(source: &[u8], name: &str) -> Result<Self, DockerfileError> {
        parse::dockerfile(Arc::new(Source::new(name, source)))
    }

    /// Returns an error about a place in this file.
    pub fn error(&self, span: Span, message: impl Into<String>) -> DockerfileError {
        DockerfileError::new(self.source.clone(), span, message)
    }

    /// Expands a word with the file's escape character.
    ///
    /// # Errors
    /// What the word breaks, at the word's place.
    pub fn expand(&self, word: &Word, lookup: Lookup<'_>) -> Result<Expansion, DockerfileError> {
        let lexer = Lexer::new(self.directives.escape);
        lexer.expand(&word.text, lookup).map_err(|error| self.error(word.span, error.to_string()))
    }

    /// Expands the variables in a here-document's content.
    ///
    /// # Errors
    /// What the content breaks, at the document's place.
    pub fn expand_heredoc(
        &self,
        heredoc: &Heredoc,
        lookup: Lookup<'_>,
    ) -> Result<Expansion, DockerfileError> {
        let content = heredoc.content();
        if !heredoc.expand {
            return Ok(Expansion { text: content, ..Expansion::default() });
        }
        Lexer::document()
            .expand(&content, lookup)
            .map_err(|error| self.error(heredoc.span, error.to_string()))
    }

    /// Returns the values of the arguments declared before the first FROM: what FROM lines see.
    ///
    /// `given` holds the values asked for from outside, `predefined` what is there without declaration
    /// (`BUILDPLATFORM` and the like). An argument with neither value nor default is not in the result.
    ///
    /// # Errors
    /// A default that cannot be expanded.
    pub fn global_scope(
        &self,
        given: Lookup<'_>,
        predefined: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, DockerfileError> {
        let mut scope = predefined.clone();
        for argument in &self.global_args {
            let value = match (given(&argument.name.text), &argument.default) {
                (Some(value), _) => Some(value),
                (None, Some(default)) => Some(self.expand(default, &|name| scope.get(name).cloned())?.text),
                (None, None) => None,
            };
            scope.extend(value.map(|value| (argument.name.text.clone(), value)));
        }
        Ok(scope)
    }
}

#[cfg(test)]
mod refused;
#[cfg(test)]
mod tests;
