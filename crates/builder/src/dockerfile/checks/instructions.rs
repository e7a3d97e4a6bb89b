//! Checks of what follows a FROM.

use std::collections::BTreeSet;

use super::super::error::suggestion;
use super::super::{
    Command, CommandLine, Dockerfile, Instruction, Lexer, Origin, Span, Stage, Warning, Word,
};
use super::stages::is_upper;
use crate::ignore::IgnoreFile;

/// Parts of a variable's name that tell of a secret.
const SECRET_PARTS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

impl Dockerfile {
    /// Keywords are all in capitals or all in small letters, as most of them are.
    pub(super) fn check_casing(&self, found: &mut Vec<Warning>) {
        let own = self.stages.iter().flat_map(|stage| {
            std::iter::once(&stage.keyword).chain(stage.instructions.iter().map(|one| &one.keyword))
        });
        let keywords: Vec<&Word> = own.collect();
        let lower = |keyword: &&&Word| keyword.text == keyword.text.to_lowercase();
        let upper = |keyword: &&&Word| is_upper(&keyword.text);
        let (lowers, uppers) = (keywords.iter().filter(lower).count(), keywords.iter().filter(upper).count());
        let majority = if lowers > uppers { "lowercase" } else { "uppercase" };
        for keyword in keywords {
            let fits = if lowers > uppers { lower(&&keyword) } else { upper(&&keyword) };
            if !fits {
                let message = format!(
                    "Command '{}' should match the case of the command majority ({majority})",
                    keyword.text
                );
                found.push(Warning { rule: "ConsistentInstructionCasing", message, span: keyword.span });
            }
        }
    }

    pub(super) fn check_instructions(&self, stage: &Stage, ignore: &IgnoreFile, found: &mut Vec<Warning>) {
        let mut warn = |rule, span: Span, message: String| found.push(Warning { rule, message, span });
        check_repeated(stage, &mut warn);
        let mut folder_is_known = self.sets_folder(stage);
        let has_shell = stage.instructions.iter().any(|one| matches!(one.command, Command::Shell(_)));
        for instruction in &stage.instructions {
            if let Command::Workdir(path) = &instruction.command {
                if !folder_is_known && !path.text.starts_with(['/', '$']) {
                    let message = format!(
                        "Relative workdir {:?} can have unexpected results if the base image changes",
                        path.text
                    );
                    warn("WorkdirRelativePath", path.span, message);
                }
                folder_is_known |= path.text.starts_with('/');
            }
            check_form(instruction, has_shell, &mut warn);
            check_secrets(instruction, &mut warn);
            check_ports(instruction, &mut warn);
            check_ignored(instruction, ignore, &mut warn);
        }
        self.check_variables(stage, &mut warn);
    }

    /// Whether a stage that this one starts from says an absolute WORKDIR.
    fn sets_folder(&self, stage: &Stage) -> bool {
        let absolute =
            |one: &Instruction| matches!(&one.command, Command::Workdir(path) if path.text.starts_with('/'));
        match self.base(stage.index, &stage.base.text) {
            Origin::Stage(base) => {
                let base = &self.stages[base];
                base.instructions.iter().any(absolute) || self.sets_folder(base)
            }
            Origin::External(name) => name == "scratch",
        }
    }

    /// Variables that nothing sets, in stages that start from nothing.
    fn check_variables(&self, stage: &Stage, warn: &mut dyn FnMut(&'static str, Span, String)) {
        if stage.base.text != "scratch" {
            return;
        }
        let lexer = Lexer::new(self.directives.escape);
        let mut known: BTreeSet<String> = BTreeSet::from(["PATH".to_owned()]);
        for instruction in &stage.instructions {
            for word in words(&instruction.command) {
                let Ok(expansion) = lexer.expand(&word.text, &|_| None) else { continue };
                let unknown = expansion.undefined.iter().filter(|name| {
                    // What has a standing value, such as `${v:-w}`, may well be unset.
                    let braced = word.text.contains(&format!("${{{name}:"))
                        || word.text.contains(&format!("${{{name}-"));
                    !known.contains(*name) && !braced
                });
                for name in unknown {
                    let names: Vec<&str> = known.iter().map(String::as_str).collect();
                    let near = suggestion(name, &names).map(|near| format!(" (did you mean ${near}?)"));
                    let message =
                        format!("Usage of undefined variable '${name}'{}", near.unwrap_or_default());
                    warn("UndefinedVar", word.span, message);
                }
            }
            match &instruction.command {
                Command::Arg(arguments) => known.extend(arguments.iter().map(|one| one.name.text.clone())),
                Command::Env(pairs) => known.extend(pairs.pairs.iter().map(|(name, _)| name.text.clone())),
                _ => {}
            }
        }
    }
}

/// The words of an instruction that are expanded by the builder.
fn words(command: &Command) -> Vec<&Word> {
    match command {
        Command::Env(pairs) | Command::Label(pairs) => pairs.pairs.iter().map(|(_, value)| value).collect(),
        Command::Arg(arguments) => arguments.iter().filter_map(|one| one.default.as_ref()).collect(),
        Command::Workdir(word) | Command::User(word) | Command::StopSignal(word) => vec![word],
        Command::Expose(words) | Command::Volume(words) => words.iter().collect(),
        Command::Copy(copy) => copy.transfer.sources.iter().chain([&copy.transfer.destination]).collect(),
        Command::Add(add) => add.transfer.sources.iter().chain([&add.transfer.destination]).collect(),
        _ => Vec::new(),
    }
}

/// Of several the last counts, so the others are of no use.
fn check_repeated(stage: &Stage, warn: &mut dyn FnMut(&'static str, Span, String)) {
    for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
        let mut all: Vec<_> = stage.instructions.iter().filter(|one| one.command.keyword() == name).collect();
        all.pop();
        for earlier in all {
            let message = format!(
                "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
            );
            warn("MultipleInstructionsDisallowed", earlier.span, message);
        }
    }
}

fn check_form(instruction: &Instruction, has_shell: bool, warn: &mut dyn FnMut(&'static str, Span, String)) {
    let name = instruction.command.keyword();
    match &instruction.command {
        Command::Cmd(CommandLine::Shell(_)) | Command::Entrypoint(CommandLine::Shell(_)) if !has_shell => {
            let message = format!(
                "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
            );
            warn("JSONArgsRecommended", instruction.span, message);
        }
        Command::Env(pairs) | Command::Label(pairs) if pairs.legacy => {
            let message =
                format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            warn("LegacyKeyValueFormat", instruction.span, message);
        }
        Command::Maintainer(_) => {
            let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
            warn("MaintainerDeprecated", instruction.span, message);
        }
        _ => {}
    }
}

fn check_secrets(instruction: &Instruction, warn: &mut dyn FnMut(&'static str, Span, String)) {
    let names: Vec<&Word> = match &instruction.command {
        Command::Arg(arguments) => arguments.iter().map(|one| &one.name).collect(),
        Command::Env(pairs) => pairs.pairs.iter().map(|(name, _)| name).collect(),
        _ => return,
    };
    let is_secret = |name: &&Word| {
        let lower = name.text.to_lowercase();
        let has = |wanted: &dyn Fn(&str) -> bool| lower.split('_').any(wanted);
        has(&|part| SECRET_PARTS.contains(&part)) && !has(&|part| part == "public")
    };
    for name in names.into_iter().filter(is_secret) {
        let message = format!(
            "Do not use ARG or ENV instructions for sensitive data ({} {:?})",
            instruction.command.keyword(),
            name.text
        );
        warn("SecretsUsedInArgOrEnv", name.span, message);
    }
}

fn check_ports(instruction: &Instruction, warn: &mut dyn FnMut(&'static str, Span, String)) {
    let Command::Expose(words) = &instruction.command else { return };
    for word in words {
        let protocol = word.text.split_once('/').map_or("", |(_, protocol)| protocol);
        if protocol != protocol.to_lowercase() && !protocol.contains('$') {
            let message =
                format!("Defined protocol '{}' in EXPOSE instruction should be lowercase", word.text);
            warn("ExposeProtoCasing", word.span, message);
        }
        if word.text.contains(':') && !word.text.contains('$') {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
                word.text
            );
            warn("ExposeInvalidFormat", word.span, message);
        }
    }
}

fn check_ignored(
    instruction: &Instruction,
    ignore: &IgnoreFile,
    warn: &mut dyn FnMut(&'static str, Span, String),
) {
    let (sources, verb) = match &instruction.command {
        Command::Copy(copy) if copy.from.is_none() => (&copy.transfer.sources, "Copy"),
        Command::Add(add) => (&add.transfer.sources, "Add"),
        _ => return,
    };
    for source in sources.iter().filter(|source| !source.text.contains(['$', '*', '?', '['])) {
        let path = source.text.trim_start_matches("./").trim_matches('/');
        if !path.is_empty() && ignore.excluded(path.as_bytes()) {
            let message =
                format!("Attempting to {verb} file {:?} that is excluded by .dockerignore", source.text);
            warn("CopyIgnoredFile", source.span, message);
        }
    }
}
