//! HEALTHCHECK.

use std::ops::Range;

use super::DockerfileError;
use super::duration::parse_duration;
use super::flags::Flags;
use super::instruction::{CommandLine, Healthcheck, HealthcheckOptions};
use super::parse::Reader;
use super::words;

impl Reader<'_> {
    pub(super) fn healthcheck(
        &self,
        flags: &Flags,
        range: Range<usize>,
    ) -> Result<Healthcheck, DockerfileError> {
        let (kind, rest) = words::first(self.line, range);
        let word = self.line.word(kind);
        match &word.text.to_ascii_uppercase()[..] {
            "" => Err(self.error(self.line.span, "HEALTHCHECK needs CMD and a command, or NONE")),
            "NONE" if rest.is_empty() => Ok(Healthcheck::None),
            "NONE" => Err(self.error(self.line.span(rest), "HEALTHCHECK NONE takes no arguments")),
            "CMD" => {
                let line = self.command_line("HEALTHCHECK CMD", rest)?;
                if line == CommandLine::Exec(Vec::new()) {
                    return Err(self.error(self.line.span, "HEALTHCHECK CMD needs a command"));
                }
                Ok(Healthcheck::Command { line, options: self.healthcheck_options(flags)? })
            }
            _ => {
                let error = self.error(word.span, format!("HEALTHCHECK {} is not known", word.text));
                Err(error.with_hint("write HEALTHCHECK CMD command or HEALTHCHECK NONE"))
            }
        }
    }

    fn healthcheck_options(&self, flags: &Flags) -> Result<HealthcheckOptions, DockerfileError> {
        let retries = flags.text("retries").map(|word| match word.text.parse::<i32>() {
            Ok(count) if count >= 0 => Ok(i64::from(count)),
            _ => Err(self.error(word.span, format!("--retries={} is not a count", word.text))),
        });
        Ok(HealthcheckOptions {
            interval: self.interval(flags, "interval")?,
            timeout: self.interval(flags, "timeout")?,
            start_period: self.interval(flags, "start-period")?,
            start_interval: self.interval(flags, "start-interval")?,
            retries: retries.transpose()?.unwrap_or(0),
        })
    }

    fn interval(&self, flags: &Flags, name: &str) -> Result<i64, DockerfileError> {
        const MILLISECOND: i64 = 1_000_000;
        let Some(word) = flags.text(name) else { return Ok(0) };
        match parse_duration(&word.text) {
            Some(time) if time == 0 || time >= MILLISECOND => Ok(time),
            Some(_) => Err(self.error(word.span, format!("--{name}={} is less than 1ms", word.text))),
            None => {
                let error = self.error(word.span, format!("--{name}={} is not a duration", word.text));
                Err(error.with_hint("write it as 30s, 1m30s or 500ms"))
            }
        }
    }
}
