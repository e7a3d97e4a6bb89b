//! COPY and ADD, as far as they can be read without variables.

use std::ops::Range;

use super::DockerfileError;
use super::flags::Flags;
use super::heredoc::{Heredoc, Marker};
use super::instruction::{Add, Copy, Transfer};
use super::parse::Reader;
use super::source::Word;
use super::words;

impl Reader<'_> {
    fn transfer(&self, name: &str, flags: &Flags, range: Range<usize>) -> Result<Transfer, DockerfileError> {
        let words = match self.json(range.clone())? {
            Some(words) => words,
            None => words::split(self.line, range.clone()),
        };
        let [sources @ .., destination] = &words[..] else {
            return Err(self.error(self.line.span, format!("{name} needs a source and a destination")));
        };
        if sources.is_empty() {
            let message = format!("{name} needs a source and a destination; there is one of them only");
            return Err(self.error(self.span_or_line(range), message));
        }
        if self.heredoc(destination).is_some() {
            return Err(
                self.error(destination.span, format!("a here-document cannot be {name}'s destination"))
            );
        }
        Ok(Transfer {
            heredocs: sources.iter().filter_map(|word| self.heredoc(word)).cloned().collect(),
            sources: sources.iter().filter(|word| self.heredoc(word).is_none()).cloned().collect(),
            destination: destination.clone(),
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            link: flags.on("link"),
            exclude: flags.list("exclude"),
        })
    }

    fn heredoc(&self, word: &Word) -> Option<&Heredoc> {
        let marker = Marker::parse(&word.text)?;
        self.heredocs.iter().find(|heredoc| heredoc.name == marker.name())
    }

    pub(super) fn copy(&self, flags: &Flags, range: Range<usize>) -> Result<Copy, DockerfileError> {
        let from = flags.text("from");
        if let Some(from) = from.as_ref().filter(|from| from.text.contains('$')) {
            let error = self.error(from.span, "--from takes no variables");
            return Err(error.with_hint("name a stage with FROM ... AS name and copy from that"));
        }
        Ok(Copy { transfer: self.transfer("COPY", flags, range)?, from, parents: flags.on("parents") })
    }

    pub(super) fn add(&self, flags: &Flags, range: Range<usize>) -> Result<Add, DockerfileError> {
        Ok(Add {
            transfer: self.transfer("ADD", flags, range)?,
            checksum: flags.text("checksum"),
            keep_git_dir: flags.on("keep-git-dir"),
            unpack: flags.switch("unpack"),
        })
    }
}
