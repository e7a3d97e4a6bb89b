//! The command line: flags that every command takes, and the way from arguments to an exit code.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as _, CommandFactory, FromArgMatches, Parser, ValueEnum};
use oci::Registry;
use pipeline::event::Assumed;

use crate::command::Command;
use crate::env::Environment;
use crate::error::{Code, Error};
use crate::session::Session;
use crate::ui::{self, Ui};

/// Builds container images once, tests that very digest, ships it with proof.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, max_term_width = 110, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 refused by a gate, \
    4 wrong image, 5 remote failed, 6 not allowed, 7 partly done, 8 a check found something, 70 a defect of ours.")]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command; they may stand before or after the command's name.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Work as if started in DIR
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub folder: Option<PathBuf>,
    /// Configuration file [default: plimsoll.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Folder for images, cache and logs [default: $PLIMSOLL_ROOT, then the XDG data folder]
    #[arg(long, value_name = "DIR", global = true)]
    pub root: Option<PathBuf>,
    /// Ledger of the run [default: .plimsoll/ledger.json]
    #[arg(long, value_name = "FILE", global = true)]
    pub ledger: Option<PathBuf>,
    /// Overrides a key of the configuration, such as `identity.short-sha=8`
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    pub settings: Vec<String>,
    /// Form of the results on standard output: text or json; meta also takes env
    #[arg(long, value_name = "FORMAT", global = true, default_value = "text", hide_possible_values = true)]
    pub format: Format,
    /// Says nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Says more; twice says much more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use colours: auto, always or never
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto", hide_possible_values = true)]
    pub color: When,
    /// How to show what is going on: tty, plain, json, none, or auto by where it goes
    #[arg(long, value_name = "STYLE", global = true, default_value = "auto", hide_possible_values = true)]
    pub progress: ProgressStyle,
    /// Takes nothing from other machines
    #[arg(long, global = true)]
    pub offline: bool,
    /// Fails where plimsoll.lock would have to change
    #[arg(long, global = true)]
    pub locked: bool,
    /// Says what would be done and does not do it
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// How steps are isolated: auto, root, subids, single or chroot [default: $PLIMSOLL_SANDBOX, then auto]
    #[arg(long, value_name = "KIND", global = true)]
    pub sandbox: Option<builder::sandbox::Wanted>,
    /// CI host whose conventions to follow: auto, none, github, gitlab or forgejo
    #[arg(long, value_name = "HOST", global = true, default_value = "auto", hide_possible_values = true)]
    pub ci: Ci,
    /// Speaks plain HTTP with HOST; loopback addresses need no permission
    #[arg(long, value_name = "HOST", global = true)]
    pub insecure_registry: Vec<Registry>,
    /// Sees or runs as another event: pr:42, branch:NAME, tag:NAME, schedule, dispatch, merge:42, release:TAG,
    /// delete:tag:NAME, workflow:NAME, detached
    #[arg(long = "as", value_name = "EVENT", global = true)]
    pub event: Option<Assumed>,
    /// Replays the event of a file: one of ours, or a payload as GitHub sends it
    #[arg(long = "event", value_name = "FILE", global = true)]
    pub event_file: Option<PathBuf>,
    /// The CI host's name of the event in that file, where its keys do not show it
    #[arg(long, value_name = "NAME", global = true, requires = "event_file")]
    pub event_name: Option<String>,
}

/// Form of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document with a schema number; NDJSON for streams.
    Json,
    /// Assignments that a shell or an env file takes; of `meta`.
    Env,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressStyle {
    /// `tty` on a terminal, else `plain`.
    #[default]
    Auto,
    /// One live line for each active step.
    Tty,
    /// One line for each change.
    Plain,
    /// One JSON event for each change.
    Json,
    /// Nothing.
    None,
}

/// CI hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ci {
    /// As the environment says.
    #[default]
    Auto,
    /// None, whatever the environment says.
    None,
    /// GitHub Actions.
    Github,
    /// GitLab CI.
    Gitlab,
    /// Forgejo or Gitea Actions.
    Forgejo,
}

impl From<Ci> for forge::Choice {
    fn from(ci: Ci) -> Self {
        match ci {
            Ci::Auto => Self::Auto,
            Ci::None => Self::None,
            Ci::Github => Self::GitHub,
            Ci::Gitlab => Self::GitLab,
            Ci::Forgejo => Self::Forgejo,
        }
    }
}

/// Runs the command that `arguments` ask for and returns the exit code.
pub fn run(environment: Environment, arguments: impl Iterator<Item = OsString>) -> Code {
    let arguments: Vec<OsString> = arguments.collect();
    let cli = match parse(&environment, &arguments) {
        Ok(cli) => cli,
        Err(error) => return ui::usage::show(&environment, &arguments, &error),
    };
    let ui = Ui::new(&environment, &cli.global);
    ui::log::install(&ui);
    match start(environment, cli, &ui) {
        Ok(()) => Code::Done,
        Err(error) => {
            ui.error(&error);
            error.code()
        }
    }
}

fn parse(environment: &Environment, arguments: &[OsString]) -> Result<Cli, clap::Error> {
    if let Some(cli) = parse_alone(arguments) {
        return Ok(cli);
    }
    let colour = if ui::wants_colour(environment, arguments) {
        clap::ColorChoice::Always
    } else {
        clap::ColorChoice::Never
    };
    if let [_, word] = arguments
        && (word == "--version" || word == "-V")
    {
        version().try_get_matches_from(arguments)?;
    }
    let matches = Cli::command().color(colour).try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

/// Parses the arguments of a command that is named first with a definition of nothing but that command. `None` where
/// something is to be said of them, which the whole definition says.
fn parse_alone(arguments: &[OsString]) -> Option<Cli> {
    let command = alone(arguments.get(1)?.to_str()?)?;
    Cli::from_arg_matches(&command.try_get_matches_from(arguments).ok()?).ok()
}

/// Returns a definition that knows its version and nothing else.
fn version() -> clap::Command {
    clap::Command::new("plimsoll").version(env!("CARGO_PKG_VERSION"))
}

fn alone(name: &str) -> Option<clap::Command> {
    let command = Command::definition(name)?;
    let all = Global::augment_args(clap::Command::new("plimsoll").disable_help_subcommand(true));
    Some(all.subcommand(command))
}

fn start(mut environment: Environment, cli: Cli, ui: &Ui) -> Result<(), Error> {
    if let Some(folder) = &cli.global.folder {
        environment.enter(folder)?;
    }
    if cli.global.format == Format::Env && !matches!(cli.command, Command::Meta(_)) {
        return Err(Error::usage("--format env is for meta; here it is text or json"));
    }
    cli.command.run(&Session::new(environment, cli.global, ui.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every command shows how it is used, and what it shows is accepted by the parser.
    #[test]
    fn every_command_has_examples_that_parse() {
        check_examples(&Cli::command(), "plimsoll");
    }

    #[test]
    fn a_command_alone_is_what_it_is_among_all() {
        let shown = |mut whole: clap::Command, name: &str| {
            whole.build();
            let command = whole.find_subcommand(name).unwrap();
            let arguments: Vec<String> =
                command.get_arguments().map(|argument| format!("{argument:?}")).collect();
            let inner: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
            format!("{arguments:#?} {inner:?}")
        };
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let alone = alone(name).unwrap_or_else(|| panic!("{name} is missing from the definitions"));
            assert_eq!(shown(alone, name), shown(Cli::command(), name));
        }
        assert!(alone("help").is_none());
    }

    #[test]
    fn the_version_alone_is_what_it_is_among_all() {
        for word in ["--version", "-V"] {
            let said = |command: clap::Command| {
                command.try_get_matches_from(["plimsoll", word]).unwrap_err().to_string()
            };
            assert_eq!(said(version()), said(Cli::command()));
        }
    }

    /// What is said of arguments does not depend on how they were parsed.
    #[test]
    fn what_cannot_be_parsed_alone_is_left_to_the_whole() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for line in [
            "plimsoll",
            "plimsoll copy",
            "plimsoll copy --help",
            "plimsoll copy a b --nonsense",
            "plimsoll cpy a b",
        ] {
            assert!(parse_alone(&words(line)).is_none(), "{line}");
        }
        let line = words("plimsoll copy a:1 b:1 -q --root /r");
        let alone = parse_alone(&line).unwrap();
        let whole = Cli::from_arg_matches(&Cli::command().try_get_matches_from(&line).unwrap()).unwrap();
        assert_eq!(format!("{alone:?}"), format!("{whole:?}"));
    }

    fn check_examples(command: &clap::Command, path: &str) {
        for child in command.get_subcommands() {
            let path = format!("{path} {}", child.get_name());
            if child.has_subcommands() {
                check_examples(child, &path);
                continue;
            }
            let help = child.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                help.lines().filter_map(|line| line.trim().strip_prefix("$ ")).collect();
            assert!(!examples.is_empty(), "{path} has no example");
            for example in examples {
                check_parses(example, &path);
            }
        }
    }

    fn check_parses(example: &str, path: &str) {
        let own = example.split(" | ").find(|part| part.starts_with("plimsoll ")).expect(example);
        let words = own.split(" > ").next().unwrap().split_whitespace().map(|word| word.trim_matches('\''));
        let words: Vec<OsString> = words.map(OsString::from).collect();
        let whole = Cli::command().try_get_matches_from(&words).map(|found| Cli::from_arg_matches(&found));
        if let (Some(alone), Ok(Ok(whole))) = (parse_alone(&words), whole) {
            assert_eq!(format!("{alone:?}"), format!("{whole:?}"), "{example}");
        }
        let matches =
            Cli::command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
        let mut named = "plimsoll".to_owned();
        let mut next = matches.subcommand();
        while let Some((name, matches)) = next {
            named = format!("{named} {name}");
            next = matches.subcommand();
        }
        assert_eq!(named, path, "{example}");
    }
}
