//! Logical lines to instructions and stages.

use std::ops::Range;
use std::sync::Arc;

use super::error::suggestion;
use super::flags::Flags;
use super::heredoc::{Heredoc, Marker};
use super::instruction::{Command, Instruction, Onbuild};
use super::lex::{Line, Lines};
use super::source::{Source, Span, Word};
use super::words;
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

/// The longest line that BuildKit reads, without its end.
const MAX_LINE_BYTES: usize = 65_535;

/// Reads a whole file.
pub(super) fn dockerfile(source: Arc<Source>) -> Result<Dockerfile, DockerfileError> {
    check_lengths(&source)?;
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
        check_text(&source, &line, &heredocs)?;
        if let Some(span) = line.empty_continuation {
            let message = "Empty continuation line".to_owned();
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

/// Refuses lines that BuildKit does not read, whatever they hold: the file would build here and nowhere else.
fn check_lengths(source: &Arc<Source>) -> Result<(), DockerfileError> {
    let bytes = |line: &usize| source.line(*line).len();
    let Some(long) = (1..=source.line_count()).find(|line| bytes(line) > MAX_LINE_BYTES) else {
        return Ok(());
    };
    let message =
        format!("the line has {} bytes, more than the {MAX_LINE_BYTES} of a Dockerfile", bytes(&long));
    let error = DockerfileError::new(source.clone(), source.span(source.line_range(long)), message);
    Err(error.with_hint("continue it on the next line, or copy what is long from a file"))
}

/// Refuses instructions with bytes that were not UTF-8; comments may have them.
fn check_text(source: &Arc<Source>, line: &Line, heredocs: &[Heredoc]) -> Result<(), DockerfileError> {
    if source.is_utf8() {
        return Ok(());
    }
    let bad = char::REPLACEMENT_CHARACTER;
    let in_line = line.text.find(bad).map(|at| line.span(at..at + bad.len_utf8()));
    let in_heredocs = heredocs.iter().find_map(|heredoc| {
        let start = heredoc.span.start + heredoc.raw.find(bad)?;
        Some(source.span(start..start + bad.len_utf8()))
    });
    match in_line.or(in_heredocs) {
        Some(span) => {
            let error = DockerfileError::new(source.clone(), span, "the instruction is not UTF-8 here");
            Err(error.with_hint("save the file as UTF-8"))
        }
        None => Ok(()),
    }
}

/// Reads one instruction from its line.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) line: &'a Line,
    pub(super) escape: char,
    pub(super) heredocs: Vec<Heredoc>,
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

    pub(super) fn span_or_line(&self, range: Range<usize>) -> Span {
        if range.is_empty() { self.line.span } else { self.line.span(range) }
    }
}
