//! The instructions of the Dockerfile language as values.
//!
//! Words are as written: whoever runs an instruction expands them with the variables of its stage
//! and then reads them with the types of this room ([`super::Port`], [`super::Chmod`],
//! [`super::Owner`], [`super::Signal`]). What can be checked without variables has been checked.
//!
//! Source: the Dockerfile reference.

use super::heredoc::Heredoc;
use super::mount::MountFlag;
use super::source::{Span, Word};

/// An instruction with its text and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The keyword as it is written; its casing is the author's.
    pub keyword: Word,
    /// What it says.
    pub command: Command,
    /// The line, continuations joined and comments dropped, as BuildKit shows it; without the
    /// here-documents.
    pub original: String,
    /// Everything from the keyword to the end, here-documents included.
    pub span: Span,
    /// The comments directly above.
    pub comments: Vec<String>,
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ARG NAME[=default]...`
    Arg(Vec<Argument>),
    /// `ENV NAME=value...` or `ENV NAME value`
    Env(Pairs),
    /// `LABEL NAME=value...` or `LABEL NAME value`
    Label(Pairs),
    /// `WORKDIR path`
    Workdir(Word),
    /// `USER user[:group]`
    User(Word),
    /// `COPY [flags] source... destination`
    Copy(Copy),
    /// `ADD [flags] source... destination`
    Add(Add),
    /// `RUN [flags] command`
    Run(Run),
    /// `CMD command`
    Cmd(CommandLine),
    /// `ENTRYPOINT command`
    Entrypoint(CommandLine),
    /// `SHELL ["program", "argument"...]`
    Shell(Vec<Word>),
    /// `EXPOSE port[/protocol]...`, not expanded; see [`super::Port::parse_range`]
    Expose(Vec<Word>),
    /// `VOLUME path...` or its JSON form
    Volume(Vec<Word>),
    /// `STOPSIGNAL signal`, not expanded; see [`super::Signal`]
    StopSignal(Word),
    /// `HEALTHCHECK ...`
    Healthcheck(Healthcheck),
    /// `ONBUILD instruction`
    Onbuild(Onbuild),
    /// `MAINTAINER name`
    Maintainer(Word),
}

impl Command {
    /// Returns the keyword in capitals.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Arg(_) => "ARG",
            Self::Env(_) => "ENV",
            Self::Label(_) => "LABEL",
            Self::Workdir(_) => "WORKDIR",
            Self::User(_) => "USER",
            Self::Copy(_) => "COPY",
            Self::Add(_) => "ADD",
            Self::Run(_) => "RUN",
            Self::Cmd(_) => "CMD",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Shell(_) => "SHELL",
            Self::Expose(_) => "EXPOSE",
            Self::Volume(_) => "VOLUME",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Onbuild(_) => "ONBUILD",
            Self::Maintainer(_) => "MAINTAINER",
        }
    }
}

/// A declared build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: Word,
    /// Its default, to be expanded.
    pub default: Option<Word>,
}

/// The pairs of ENV and LABEL, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    /// Name and value, both to be expanded.
    pub pairs: Vec<(Word, Word)>,
    /// Whether it is the old form without `=`, which holds one pair.
    pub legacy: bool,
}

/// A command in shell form or in JSON form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// Text for the shell; not expanded by the builder.
    Shell(Word),
    /// A program and its arguments; not expanded by anyone. May be empty for CMD and ENTRYPOINT.
    Exec(Vec<Word>),
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What is run; see [`Run::program`].
    pub line: CommandLine,
    /// Here-documents the line opens, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount=...`, to be read with [`MountFlag::parse`] once variables are known.
    pub mounts: Vec<MountFlag>,
    /// `--network=...`
    pub network: Option<(Network, Span)>,
    /// `--security=...`
    pub security: Option<(Security, Span)>,
    /// `--device=...`
    pub devices: Vec<Word>,
}

/// `--network` of RUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The build's own choice.
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// `--security` of RUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Confined, as always.
    Sandbox,
    /// With all privileges.
    Insecure,
}

/// What a RUN starts, with here-documents put in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A program and its arguments.
    Exec(Vec<String>),
    /// Text for the stage's shell.
    Shell(String),
    /// A script with its own `#!` line, to be put in a file of that name and started.
    Script {
        /// Name of the file.
        name: String,
        /// Its content.
        content: String,
    },
}

impl Run {
    /// Returns what is started. A line that is one here-document and nothing else is its content; any
    /// other here-document is left for the shell to read.
    pub fn program(&self) -> Program {
        let line = match &self.line {
            CommandLine::Exec(words) => {
                return Program::Exec(words.iter().map(|word| word.text.clone()).collect());
            }
            CommandLine::Shell(line) => &line.text,
        };
        match &self.heredocs[..] {
            [] => Program::Shell(line.clone()),
            [only] if super::heredoc::Marker::parse(line).is_some() => {
                let content = only.content();
                if content.starts_with("#!") {
                    return Program::Script { name: only.name.clone(), content };
                }
                Program::Shell(content)
            }
            heredocs => {
                let bodies = heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.raw, heredoc.name));
                Program::Shell(std::iter::once(line.clone()).chain(bodies).collect())
            }
        }
    }
}

/// What COPY and ADD have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Paths or patterns, to be expanded.
    pub sources: Vec<Word>,
    /// Files given as here-documents; with sources, they come after them.
    pub heredocs: Vec<Heredoc>,
    /// Where to, to be expanded.
    pub destination: Word,
    /// `--chown=...`, to be expanded and read with [`super::Owner`].
    pub chown: Option<Word>,
    /// `--chmod=...`, to be expanded and read with [`super::Chmod`].
    pub chmod: Option<Word>,
    /// `--link`
    pub link: Option<Span>,
    /// `--exclude=...`, to be expanded.
    pub exclude: Vec<Word>,
}

/// `COPY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Sources, destination, and flags both instructions have.
    pub transfer: Transfer,
    /// `--from=...`: a stage, a named context or an image; to be expanded.
    pub from: Option<Word>,
    /// `--parents`
    pub parents: Option<Span>,
}

/// `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// Sources, destination, and flags both instructions have.
    pub transfer: Transfer,
    /// `--checksum=...`, to be expanded.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<Span>,
    /// `--unpack=...`: whether archives are unpacked; local ones are where nothing is said.
    pub unpack: Option<(bool, Span)>,
}

/// `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`: an inherited check is switched off.
    None,
    /// `CMD`: a command and how it is run.
    Command {
        /// What is run; not empty.
        line: CommandLine,
        /// Times and counts.
        options: HealthcheckOptions,
    },
}

/// The options of HEALTHCHECK. Times are in nanoseconds; 0 leaves the choice to the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthcheckOptions {
    /// `--interval`
    pub interval: i64,
    /// `--timeout`
    pub timeout: i64,
    /// `--start-period`
    pub start_period: i64,
    /// `--start-interval`
    pub start_interval: i64,
    /// `--retries`
    pub retries: i64,
}

/// `ONBUILD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onbuild {
    /// The text an image keeps, here-documents included; see [`super::parse_trigger`].
    pub trigger: String,
    /// The instruction, already read.
    pub instruction: Box<Instruction>,
}
