//! RUN, as far as it can be read without variables.

use std::ops::Range;

use super::DockerfileError;
use super::flags::Flags;
use super::instruction::{Network, Run, Security};
use super::mount::MountFlag;
use super::parse::Reader;
use super::source::{Span, Word};

impl Reader<'_> {
    pub(super) fn run(&self, flags: &Flags, range: Range<usize>) -> Result<Run, DockerfileError> {
        let mut mounts = Vec::new();
        for value in flags.list("mount") {
            let mount = MountFlag { value };
            mount.check().map_err(|message| self.error(mount.value.span, format!("--mount: {message}")))?;
            mounts.push(mount);
        }
        Ok(Run {
            line: self.command_line("RUN", range)?,
            heredocs: self.heredocs.clone(),
            mounts,
            network: self.choice(
                flags.text("network"),
                "--network",
                &[("default", Network::Default), ("none", Network::None), ("host", Network::Host)],
            )?,
            security: self.choice(
                flags.text("security"),
                "--security",
                &[("sandbox", Security::Sandbox), ("insecure", Security::Insecure)],
            )?,
            devices: flags.list("device"),
        })
    }

    fn choice<T: std::marker::Copy>(
        &self,
        word: Option<Word>,
        flag: &str,
        known: &[(&str, T)],
    ) -> Result<Option<(T, Span)>, DockerfileError> {
        let Some(word) = word else { return Ok(None) };
        match known.iter().find(|(name, _)| *name == word.text) {
            Some((_, value)) => Ok(Some((*value, word.span))),
            None => {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let error = self.error(word.span, format!("{flag}={} is not known", word.text));
                Err(error.with_hint(format!("it is one of {}", names.join(", "))))
            }
        }
    }
}
