//! What a stage has come to: layers, configuration, variables. Instructions that make no layer are
//! carried out here, as pure changes of the state.
//!
//! The texts of the history are BuildKit's, so that `docker history` reads the same.
//!
//! Source: Dockerfile reference; image-spec v1.1, config.md.

use oci::config::Set;
use oci::{History, ImageConfig, Platform};

use super::scope::{Globals, Scope, environment_value, set_environment};
use super::workspace::LayerRef;
use crate::dockerfile::{
    Command, CommandLine, ExpandError, Healthcheck, HealthcheckOptions, Lexer, Pairs, Port, Signal, Word,
};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const COMMENT: &str = "buildkit.dockerfile.v0";

/// What a stage has come to.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub layers: Vec<LayerRef>,
    pub config: ImageConfig,
    pub scope: Scope,
    /// What the stage is for; COPY --from takes images for it, and steps run as it.
    pub platform: Platform,
    created: String,
    escape: char,
    /// CMD stood in this stage, so ENTRYPOINT does not clear it.
    own_cmd: bool,
}

impl State {
    /// Returns the state of a stage that starts from nothing.
    pub fn scratch(platform: &Platform, created: &str, escape: char) -> Self {
        let mut config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        config.config.env.push(DEFAULT_PATH.to_owned());
        "/".clone_into(&mut config.config.working_dir);
        Self::new(config, Vec::new(), platform, created, escape)
    }

    /// Returns the state of a stage that starts from an image or another stage.
    pub fn from_image(
        config: ImageConfig,
        layers: Vec<LayerRef>,
        platform: &Platform,
        created: &str,
        escape: char,
    ) -> Self {
        let mut state = Self::new(config, layers, platform, created, escape);
        if environment_value(&state.config.config.env, "PATH").is_none() {
            state.config.config.env.insert(0, DEFAULT_PATH.to_owned());
        }
        state
    }

    /// Returns the state of a stage `FROM` this one: the variables of ARG stay with it, as the
    /// field's builders have it.
    pub fn child(&self) -> Self {
        Self { own_cmd: false, ..self.clone() }
    }

    fn new(
        config: ImageConfig,
        layers: Vec<LayerRef>,
        platform: &Platform,
        created: &str,
        escape: char,
    ) -> Self {
        let (scope, created, platform) = (Scope::default(), created.to_owned(), platform.clone());
        Self { layers, config, scope, platform, created, escape, own_cmd: false }
    }

    /// Expands a word with the variables in scope.
    pub fn expand(&self, word: &Word) -> Result<String, ExpandError> {
        Ok(self.expansion(word)?.text)
    }

    /// Expands a word that may become several.
    pub fn expand_words(&self, word: &Word) -> Result<Vec<String>, ExpandError> {
        Ok(self.expansion(word)?.words)
    }

    fn expansion(&self, word: &Word) -> Result<crate::dockerfile::Expansion, ExpandError> {
        let environment = &self.config.config.env;
        let lookup = |name: &str| self.scope.get(environment, name).map(str::to_owned);
        Lexer::new(self.escape).expand(word.as_str(), &lookup)
    }

    /// Returns the shell of the shell forms.
    pub fn shell(&self) -> Vec<String> {
        let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
        self.config.config.shell.clone().unwrap_or_else(default)
    }

    /// Returns the absolute folder that `path` means, seen from the current one.
    pub fn absolute(&self, path: &str) -> String {
        let base = if path.starts_with('/') { "" } else { self.config.config.working_dir.as_str() };
        let mut parts: Vec<&str> = Vec::new();
        for part in base.split('/').chain(path.split('/')) {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        format!("/{}", parts.join("/"))
    }

    /// Returns what WORKDIR makes of a path: BuildKit leaves an absolute one as it is written. One that leads
    /// upward is made plain, because it would need the folders that it only passes.
    pub fn working_dir(&self, path: &str) -> String {
        let is_plain = path.starts_with('/') && path.split('/').all(|part| part != "..");
        if is_plain { path.to_owned() } else { self.absolute(path) }
    }

    /// Adds a layer and its history.
    pub fn push_layer(&mut self, layer: LayerRef, created_by: String) {
        self.config.rootfs.diff_ids.push(layer.diff_id);
        self.layers.push(layer);
        self.push_history(created_by, false);
    }

    /// Adds the history of an instruction.
    pub fn push_history(&mut self, created_by: String, empty_layer: bool) {
        self.config.history.push(History {
            created: Some(self.created.clone()),
            created_by: Some(created_by),
            comment: Some(COMMENT.to_owned()),
            empty_layer,
            ..History::default()
        });
    }

    /// Carries out an instruction that makes no layer; `false` where it is none of those.
    ///
    /// # Errors
    /// What is wrong with a word, for people.
    pub fn configure(&mut self, command: &Command, globals: &Globals) -> Result<bool, String> {
        let history = match command {
            Command::Arg(arguments) => {
                let mut text = Vec::new();
                for argument in arguments {
                    let default = argument.default.as_ref().map(|word| self.expand(word)).transpose();
                    let default = default.map_err(|error| error.to_string())?;
                    self.scope.declare(globals, argument.name.as_str(), default);
                    let value = self.scope.get(&[], argument.name.as_str());
                    text.push(value.map_or_else(
                        || argument.name.text.clone(),
                        |value| format!("{}={value}", argument.name.as_str()),
                    ));
                }
                format!("ARG {}", text.join(" "))
            }
            Command::Env(pairs) => {
                let pairs = self.pairs(pairs)?;
                for (name, value) in &pairs {
                    set_environment(&mut self.config.config.env, name, value);
                    self.scope.set_by_environment(name);
                }
                format!("ENV {}", joined(&pairs))
            }
            Command::Label(pairs) => {
                let pairs = self.pairs(pairs)?;
                let text = joined(&pairs);
                self.config.config.labels.get_or_insert_default().extend(pairs);
                format!("LABEL {text}")
            }
            Command::User(user) => {
                let user = self.expand(user).map_err(|error| error.to_string())?;
                self.config.config.user.clone_from(&user);
                format!("USER {user}")
            }
            Command::Cmd(line) => {
                let words = self.command_words(line);
                let text = quoted(&words);
                self.config.config.args_escaped = true;
                self.config.config.cmd = Some(words);
                self.own_cmd = true;
                format!("CMD {text}")
            }
            Command::Entrypoint(line) => {
                let words = self.command_words(line);
                let text = quoted(&words);
                self.config.config.entrypoint = Some(words);
                if !self.own_cmd {
                    self.config.config.cmd = None;
                }
                format!("ENTRYPOINT {text}")
            }
            Command::Shell(words) => {
                let words: Vec<String> = words.iter().map(|word| word.text.clone()).collect();
                let text = words.join(" ");
                self.config.config.shell = Some(words);
                format!("SHELL [{text}]")
            }
            Command::Expose(words) => self.expose(words)?,
            Command::Volume(words) => {
                let mut paths = Vec::new();
                for word in words {
                    let path = self.expand(word).map_err(|error| error.to_string())?;
                    if path.is_empty() {
                        return Err("VOLUME needs a path that is not empty".to_owned());
                    }
                    paths.push(path);
                }
                let Set(volumes) = self.config.config.volumes.get_or_insert_default();
                volumes.extend(paths.iter().cloned());
                format!("VOLUME [{}]", paths.join(" "))
            }
            Command::StopSignal(word) => {
                let signal = self.expand(word).map_err(|error| error.to_string())?;
                Signal::parse(&signal)?;
                self.config.config.stop_signal = Some(signal.clone());
                format!("STOPSIGNAL {signal}")
            }
            Command::Healthcheck(check) => self.healthcheck(check),
            Command::Maintainer(name) => {
                self.config.author = Some(name.text.clone());
                format!("MAINTAINER {}", name.text)
            }
            Command::Onbuild(onbuild) => {
                // It is in no history, as for BuildKit: what it does is, once it is done.
                self.config.config.on_build.push(onbuild.trigger.clone());
                return Ok(true);
            }
            Command::Workdir(_) | Command::Copy(_) | Command::Add(_) | Command::Run(_) => {
                return Ok(false);
            }
        };
        self.push_history(history, true);
        Ok(true)
    }

    /// Returns the words of a command; the shell form gets the shell in front.
    pub fn command_words(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.iter().map(|word| word.text.clone()).collect(),
            CommandLine::Shell(text) => {
                let mut words = self.shell();
                words.push(text.text.clone());
                words
            }
        }
    }

    fn pairs(&self, pairs: &Pairs) -> Result<Vec<(String, String)>, String> {
        let expand = |word: &Word| self.expand(word).map_err(|error| error.to_string());
        pairs.pairs.iter().map(|(name, value)| Ok((expand(name)?, expand(value)?))).collect()
    }

    fn expose(&mut self, words: &[Word]) -> Result<String, String> {
        let mut ports = Vec::new();
        for word in words {
            for text in self.expand_words(word).map_err(|error| error.to_string())? {
                let range = Port::parse_range(&text)?;
                ports.extend(range.iter().map(ToString::to_string));
            }
        }
        ports.sort();
        let Set(exposed) = self.config.config.exposed_ports.get_or_insert_default();
        exposed.extend(ports.iter().cloned());
        Ok(format!("EXPOSE [{}]", ports.join(" ")))
    }

    fn healthcheck(&mut self, check: &Healthcheck) -> String {
        let (test, options) = match check {
            Healthcheck::None => (vec!["NONE".to_owned()], HealthcheckOptions::default()),
            Healthcheck::Command { line: CommandLine::Shell(text), options } => {
                (vec!["CMD-SHELL".to_owned(), text.text.clone()], *options)
            }
            Healthcheck::Command { line: CommandLine::Exec(words), options } => {
                let words = words.iter().map(|word| word.text.clone());
                (std::iter::once("CMD".to_owned()).chain(words).collect(), *options)
            }
        };
        let text = quoted(&test);
        self.config.config.healthcheck = Some(oci::Healthcheck {
            test,
            interval: options.interval,
            timeout: options.timeout,
            start_period: options.start_period,
            start_interval: options.start_interval,
            retries: options.retries,
        });
        format!("HEALTHCHECK {text}")
    }
}

fn joined(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// A list as Go prints it with `%q`.
fn quoted(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" "))
}
