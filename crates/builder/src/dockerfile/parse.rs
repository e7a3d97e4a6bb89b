//! Logical lines to instructions and stages.

use std::ops::Range;
use std::sync::Arc;

use super::duration::parse_duration;
use super::error::suggestion;
use super::flags::Flags;
use super::heredoc::{Heredoc, Marker};
use super::instruction::{
    Add, Argument, Command, CommandLine, Copy, Healthcheck, HealthcheckOptions, Instruction, Network,
    Onbuild, Pairs, Run, Security, Transfer,
};
use super::lex::{Line, Lines};
use super::mount::MountFlag;
use super::source::{Source, Span, Word};
use super::words::{self, NotJson};
use super::{Directives, Dockerfile, DockerfileError, Stage, Warning};

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a whole file.
pub(super) fn dockerfile(source: Arc<Source>) -> Result<Dockerfile, DockerfileError> {
    let directives = Directives::parse(&source)?;
    let mut lines = Lines::new(&source, directives.escape);
    let mut file = Dockerfile {
        source: source.clone(),
        directives,
        global_args: vec![],
        stages: vec![],
        warnings: vec![],
    };
    while let Some(mut line) = lines.next_line() {
        let heredocs = read_heredocs(&source, &mut lines, &mut line)?;
        check_text(&source, line.span)?;
        if let Some(span) = line.empty_continuation {
            let message = "an empty line inside a continuation; it will be an error one day".to_owned();
            file.warnings.push(Warning { rule: "NoEmptyContinuation", message, span });
        }
        let reader = Reader { source: &source, line: &line, escape: file.directives.escape, heredocs };
        reader.add_to(&mut file)?;
    }
    if file.stages.is_empty() {
        let span = source.span(0..0);
        let message = match file.global_args.is_empty() {
            true => "the file has no instructions",
            false => "the file has no FROM",
        };
        return Err(DockerfileError::new(source, span, message).with_hint("a build starts with FROM image"));
    }
    Ok(file)
}

/// Reads an instruction that an image has kept for the builds that start from it.
///
/// # Errors
/// What breaks the language; a text that holds more or less than one instruction; an instruction that
/// cannot be a trigger.
pub fn parse_trigger(text: &str, name: &str) -> Result<Instruction, DockerfileError> {
    let source = Arc::new(Source::new(name, text.as_bytes()));
    let mut lines = Lines::new(&source, '\\');
    let everything = source.span(0..source.text().len());
    let Some(mut line) = lines.next_line() else {
        return Err(DockerfileError::new(source, everything, "the ONBUILD trigger is empty"));
    };
    let heredocs = read_heredocs(&source, &mut lines, &mut line)?;
    if let Some(second) = lines.next_line() {
        return Err(DockerfileError::new(source, second.span, "an ONBUILD trigger is one instruction"));
    }
    let reader = Reader { source: &source, line: &line, escape: '\\', heredocs };
    reader.trigger(0..line.text.len())
}

/// Reads the here-documents of a line, where its instruction can have some.
fn read_heredocs(
    source: &Arc<Source>,
    lines: &mut Lines<'_>,
    line: &mut Line,
) -> Result<Vec<Heredoc>, DockerfileError> {
    let (mut keyword, mut rest) = words::first(line, 0..line.text.len());
    if line.text[keyword.clone()].eq_ignore_ascii_case("ONBUILD") {
        (keyword, rest) = words::first(line, rest);
    }
    let takes =
        ["RUN", "COPY", "ADD"].iter().any(|name| line.text[keyword.clone()].eq_ignore_ascii_case(name));
    let (_, arguments) = words::flags(line, rest);
    if !takes || words::json(line, arguments).is_ok() {
        return Ok(Vec::new());
    }
    let markers = Marker::all_in(&line.text);
    let span = line.span;
    lines.heredocs(line, markers).map_err(|open| {
        let message = format!("the here-document {} has no end", open.name());
        let hint = format!("a line that is {} and nothing else ends it", open.name());
        DockerfileError::new(source.clone(), span, message).with_hint(hint)
    })
}

/// Refuses instructions with bytes that were not UTF-8; comments may have them.
fn check_text(source: &Arc<Source>, span: Span) -> Result<(), DockerfileError> {
    let bad = char::REPLACEMENT_CHARACTER;
    match source.slice(span).find(bad) {
        Some(at) if !source.is_utf8() => {
            let start = span.start + at;
            let span = source.span(start..start + bad.len_utf8());
            let error = DockerfileError::new(source.clone(), span, "the instruction is not UTF-8 here");
            Err(error.with_hint("save the file as UTF-8"))
        }
        _ => Ok(()),
    }
}

/// Reads one instruction from its line.
pub(super) struct Reader<'a> {
    source: &'a Arc<Source>,
    line: &'a Line,
    escape: char,
    heredocs: Vec<Heredoc>,
}

impl Reader<'_> {
    /// Returns an error about a place in the file.
    pub fn error(&self, span: Span, message: impl Into<String>) -> DockerfileError {
        DockerfileError::new(self.source.clone(), span, message)
    }

    fn add_to(&self, file: &mut Dockerfile) -> Result<(), DockerfileError> {
        let everything = 0..self.line.text.len();
        let (keyword, rest) = words::first(self.line, everything.clone());
        if self.line.text[keyword.clone()].eq_ignore_ascii_case("FROM") {
            let stage = self.stage(file.stages.len(), keyword, rest)?;
            file.stages.push(stage);
            return Ok(());
        }
        let instruction = self.instruction(everything)?;
        match (file.stages.last_mut(), instruction.command) {
            (Some(stage), command) => stage.instructions.push(Instruction { command, ..instruction }),
            (None, Command::Arg(arguments)) => file.global_args.extend(arguments),
            (None, command) => {
                let message = format!("{} stands before the first FROM", command.keyword());
                let error = self.error(instruction.keyword.span, message);
                return Err(error.with_hint("only ARG may stand before FROM"));
            }
        }
        Ok(())
    }

    fn stage(
        &self,
        index: usize,
        keyword: Range<usize>,
        rest: Range<usize>,
    ) -> Result<Stage, DockerfileError> {
        let (flags, arguments) = words::flags(self.line, rest);
        let flags = Flags::check(self, "FROM", flags)?;
        let (base, naming) = match &words::split(self.line, arguments.clone())[..] {
            [base] => (base.clone(), None),
            [base, as_word, name] if as_word.text.eq_ignore_ascii_case("AS") => {
                (base.clone(), Some((as_word.clone(), self.stage_name(name)?)))
            }
            _ => {
                let error =
                    self.error(self.span_or_line(arguments), "FROM takes an image and, after AS, a name");
                return Err(error.with_hint("write FROM image or FROM image AS name"));
            }
        };
        let (as_keyword, name) = naming.unzip();
        Ok(Stage {
            index,
            name,
            base,
            platform: flags.text("platform"),
            instructions: Vec::new(),
            keyword: self.line.word(keyword),
            as_keyword,
            original: self.line.text.trim().to_owned(),
            span: self.line.span,
            comments: self.line.comments.clone(),
        })
    }

    fn stage_name(&self, word: &Word) -> Result<Word, DockerfileError> {
        let text = word.text.to_ascii_lowercase();
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if !text.starts_with(|first: char| first.is_ascii_lowercase()) || !text.bytes().all(rest) {
            let error = self.error(word.span, format!("{:?} cannot be the name of a stage", word.text));
            return Err(
                error.with_hint("it starts with a letter and goes on with letters, digits, - _ and .")
            );
        }
        Ok(Word { text, span: word.span })
    }

    fn instruction(&self, range: Range<usize>) -> Result<Instruction, DockerfileError> {
        let (keyword, rest) = words::first(self.line, range.clone());
        let keyword = self.line.word(keyword);
        let upper = keyword.text.to_ascii_uppercase();
        let Some(name) = KEYWORDS.iter().find(|known| **known == upper) else {
            return Err(self.unknown_instruction(&keyword));
        };
        let (flags, arguments) = words::flags(self.line, rest);
        let flags = Flags::check(self, name, flags)?;
        let command = self.command(name, &flags, arguments)?;
        Ok(Instruction {
            keyword,
            command,
            original: self.line.text[range].trim().to_owned(),
            span: self.line.span,
            comments: self.line.comments.clone(),
        })
    }

    fn unknown_instruction(&self, keyword: &Word) -> DockerfileError {
        if keyword.text.is_empty() {
            return self.error(self.line.span, "there is no instruction after the continuation");
        }
        let error = self.error(keyword.span, format!("unknown instruction {}", keyword.text));
        match suggestion(&keyword.text, &KEYWORDS) {
            Some(near) => error.with_hint(format!("did you mean {near}?")),
            None => error,
        }
    }

    fn command(&self, name: &str, flags: &Flags, range: Range<usize>) -> Result<Command, DockerfileError> {
        Ok(match name {
            "ADD" => Command::Add(self.add(flags, range)?),
            "ARG" => Command::Arg(self.arguments(range)?),
            "CMD" => Command::Cmd(self.command_line(name, range)?),
            "COPY" => Command::Copy(self.copy(flags, range)?),
            "ENTRYPOINT" => Command::Entrypoint(self.command_line(name, range)?),
            "ENV" => Command::Env(self.pairs(name, range)?),
            "EXPOSE" => Command::Expose(self.at_least_one(name, range)?),
            "HEALTHCHECK" => Command::Healthcheck(self.healthcheck(flags, range)?),
            "LABEL" => Command::Label(self.pairs(name, range)?),
            "MAINTAINER" => Command::Maintainer(self.whole(name, range)?),
            "ONBUILD" => Command::Onbuild(self.onbuild(range)?),
            "RUN" => Command::Run(self.run(flags, range)?),
            "SHELL" => Command::Shell(self.shell(range)?),
            "STOPSIGNAL" => Command::StopSignal(self.whole(name, range)?),
            "USER" => Command::User(self.whole(name, range)?),
            "VOLUME" => Command::Volume(self.volumes(range)?),
            "WORKDIR" => Command::Workdir(self.whole(name, range)?),
            _ => {
                let error = self.error(self.line.span, format!("{name} cannot stand here"));
                return Err(error.with_hint("it starts a stage on a line of its own"));
            }
        })
    }

    /// The rest of the line as one word.
    fn whole(&self, name: &str, range: Range<usize>) -> Result<Word, DockerfileError> {
        if range.is_empty() {
            return Err(self.error(self.line.span, format!("{name} needs a value")));
        }
        Ok(self.line.word(range))
    }

    fn at_least_one(&self, name: &str, range: Range<usize>) -> Result<Vec<Word>, DockerfileError> {
        let words = words::split(self.line, range);
        if words.is_empty() {
            return Err(self.error(self.line.span, format!("{name} needs at least one value")));
        }
        Ok(words)
    }

    /// The JSON form, or `None` where the text is of another form.
    fn json(&self, range: Range<usize>) -> Result<Option<Vec<Word>>, DockerfileError> {
        match words::json(self.line, range.clone()) {
            Ok(words) => Ok(Some(words)),
            Err(NotJson::NoArray | NotJson::Malformed) => Ok(None),
            Err(NotJson::NotStrings) => {
                let error = self.error(self.line.span(range), "the JSON form holds strings only");
                Err(error.with_hint("put every element in double quotes"))
            }
        }
    }

    fn command_line(&self, name: &str, range: Range<usize>) -> Result<CommandLine, DockerfileError> {
        if range.is_empty() {
            return Err(self.error(self.line.span, format!("{name} needs a command")));
        }
        Ok(match self.json(range.clone())? {
            Some(words) => CommandLine::Exec(words),
            None => CommandLine::Shell(self.line.word(range)),
        })
    }

    fn arguments(&self, range: Range<usize>) -> Result<Vec<Argument>, DockerfileError> {
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
    fn pairs(&self, name: &str, range: Range<usize>) -> Result<Pairs, DockerfileError> {
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

    fn copy(&self, flags: &Flags, range: Range<usize>) -> Result<Copy, DockerfileError> {
        let from = flags.text("from");
        if let Some(from) = from.as_ref().filter(|from| from.text.contains('$')) {
            let error = self.error(from.span, "--from takes no variables");
            return Err(error.with_hint("name a stage with FROM ... AS name and copy from that"));
        }
        Ok(Copy { transfer: self.transfer("COPY", flags, range)?, from, parents: flags.on("parents") })
    }

    fn add(&self, flags: &Flags, range: Range<usize>) -> Result<Add, DockerfileError> {
        Ok(Add {
            transfer: self.transfer("ADD", flags, range)?,
            checksum: flags.text("checksum"),
            keep_git_dir: flags.on("keep-git-dir"),
            unpack: flags.switch("unpack"),
        })
    }

    fn run(&self, flags: &Flags, range: Range<usize>) -> Result<Run, DockerfileError> {
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

    fn shell(&self, range: Range<usize>) -> Result<Vec<Word>, DockerfileError> {
        match self.json(range.clone())? {
            Some(words) if !words.is_empty() => Ok(words),
            Some(_) => Err(self.error(self.line.span(range), "SHELL needs a program")),
            None => {
                let error = self.error(self.span_or_line(range), "SHELL takes the JSON form only");
                Err(error.with_hint(r#"write SHELL ["/bin/bash", "-c"]"#))
            }
        }
    }

    fn volumes(&self, range: Range<usize>) -> Result<Vec<Word>, DockerfileError> {
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

    fn onbuild(&self, range: Range<usize>) -> Result<Onbuild, DockerfileError> {
        if range.is_empty() {
            return Err(self.error(self.line.span, "ONBUILD needs an instruction"));
        }
        let instruction = self.trigger(range)?;
        let bodies = self.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.raw, heredoc.name));
        let trigger = std::iter::once(instruction.original.clone()).chain(bodies).collect();
        Ok(Onbuild { trigger, instruction: Box::new(instruction) })
    }

    fn trigger(&self, range: Range<usize>) -> Result<Instruction, DockerfileError> {
        let (keyword, _) = words::first(self.line, range.clone());
        let upper = self.line.text[keyword.clone()].to_ascii_uppercase();
        if matches!(&upper[..], "ONBUILD" | "FROM" | "MAINTAINER") {
            return Err(self.error(self.line.span(keyword), format!("{upper} cannot be an ONBUILD trigger")));
        }
        self.instruction(range)
    }

    fn healthcheck(&self, flags: &Flags, range: Range<usize>) -> Result<Healthcheck, DockerfileError> {
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

    fn span_or_line(&self, range: Range<usize>) -> Span {
        if range.is_empty() { self.line.span } else { self.line.span(range) }
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
