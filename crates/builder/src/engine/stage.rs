//! One stage from its base to its last instruction.

use std::cell::OnceCell;
use std::time::Instant;

use oci::Platform;

use super::build::Build;
use super::compression::KnownLayer;
use super::contents::View;
use super::mounts::Mounts;
use super::place::{self, Attributes};
use super::placed::PlacedList;
use super::run::RunStep;
use super::state::State;
use super::workspace::{LayerRef, chain};
use super::{add, ahead, copy, fill, from};
use crate::cache::{CacheKey, KeyBuilder};
use crate::dockerfile::{
    Command, Instruction, Network as RunNetwork, Origin, Owner, Program, Run, Security, Span, Stage,
    parse_trigger,
};
use crate::error::Location;
use crate::request::{NamedContext, StepSource};
use crate::sandbox::{Limits, Network};
use crate::{BuildError, BuildEvent};

/// A stage that is being built.
pub(crate) struct StageRun<'a> {
    pub build: &'a Build<'a>,
    pub stage: &'a Stage,
    pub state: State,
    /// Number of the next step that makes a layer.
    next_step: u32,
    /// Where the trigger that is carried out came from: its FROM.
    triggered_by: Option<Span>,
    /// Whether no step of the stage has looked into its base yet.
    at_base: bool,
}

/// A step that makes a layer, on its way.
pub(crate) struct Step {
    pub number: u32,
    pub location: Location,
    /// The key that says most about what was asked for, where it is not the one the step is looked up by last.
    pub asked: OnceCell<CacheKey>,
    pub started: Instant,
}

/// What a step came to.
pub(crate) struct Outcome {
    pub layer: LayerRef,
    pub source: StepSource,
    /// Whether the blob of the layer is still being made; whoever does that says when the step has ended.
    pub is_unfinished: bool,
}

impl Outcome {
    /// Returns that of a step that was known.
    pub fn known(known: KnownLayer) -> Self {
        let source = known.holder.into_cache().map_or(StepSource::Local, StepSource::Cache);
        Self { layer: known.layer, source, is_unfinished: false }
    }

    /// Returns that of a step whose layer was made.
    pub fn ran(layer: LayerRef) -> Self {
        Self { layer, source: StepSource::Ran, is_unfinished: false }
    }
}

impl<'a> StageRun<'a> {
    /// Builds the stage and returns what it came to.
    pub fn run(build: &'a Build<'a>, index: usize) -> Result<State, BuildError> {
        let stage = &build.dockerfile.stages[index];
        let state = base_state(build, index)?;
        let next_step = build.first_steps[index];
        let mut run = Self { build, stage, state, next_step, triggered_by: None, at_base: true };
        from::folder_base(&mut run)?;
        run.triggers()?;
        for instruction in &stage.instructions {
            run.instruction(instruction)?;
        }
        Ok(run.state)
    }

    /// Returns a copy of the stage as it is, to find out what comes of it.
    pub fn ahead(&self) -> Self {
        let (build, stage, next_step) = (self.build, self.stage, self.next_step);
        let state = self.state.clone();
        Self { build, stage, state, next_step, triggered_by: None, at_base: false }
    }

    /// Carries out what ONBUILD left in the base; it is not handed down.
    fn triggers(&mut self) -> Result<(), BuildError> {
        let triggers = std::mem::take(&mut self.state.config.config.on_build);
        let name = format!("ONBUILD of {}", self.stage.base.text);
        let parsed = triggers.iter().map(|trigger| parse_trigger(trigger, &name));
        let instructions = parsed.collect::<Result<Vec<_>, _>>()?;
        self.build.expect_triggers(&instructions);
        self.triggered_by = Some(self.stage.span);
        for instruction in &instructions {
            self.instruction(instruction)?;
        }
        self.triggered_by = None;
        Ok(())
    }

    /// Returns the place of an instruction, for messages; that of a trigger is its FROM.
    pub fn location(&self, instruction: &Instruction) -> Location {
        self.build.location(self.triggered_by.unwrap_or(instruction.span), &instruction.original)
    }

    /// Returns an error about an instruction.
    pub fn refuse(&self, instruction: &Instruction, reason: impl Into<String>) -> BuildError {
        BuildError::Instruction { location: self.location(instruction), reason: reason.into() }
    }

    /// Returns an error about something the engine does not do.
    pub fn unsupported(&self, instruction: &Instruction, what: impl Into<String>) -> BuildError {
        BuildError::Unsupported { location: self.location(instruction), what: what.into() }
    }

    /// Returns the merged view of the layers so far.
    pub fn view(&self) -> Result<View, BuildError> {
        View::of(self.build.workspace, &self.state.layers)
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), BuildError> {
        let configured = self.state.configure(&instruction.command, &self.build.globals);
        if configured.map_err(|reason| self.refuse(instruction, reason))? {
            return Ok(());
        }
        match &instruction.command {
            Command::Run(run) => self.run_step(instruction, run),
            Command::Workdir(path) => {
                let path = self.state.expand(path).map_err(|e| self.refuse(instruction, e.to_string()))?;
                self.workdir(instruction, &path)
            }
            Command::Copy(transfer) => copy::copy(self, instruction, transfer),
            Command::Add(wanted) => add::add(self, instruction, wanted),
            _ => unreachable!("the state carries out every instruction that makes no layer"),
        }
    }

    /// Does a step that makes a layer, with its events.
    pub fn layer_step(
        &mut self,
        instruction: &Instruction,
        created_by: String,
        work: impl FnOnce(&Self, &Step) -> Result<Outcome, BuildError>,
    ) -> Result<(), BuildError> {
        let number = match self.triggered_by {
            Some(_) => self.build.triggered_step(),
            None => {
                self.next_step += 1;
                self.next_step - 1
            }
        };
        let (location, started) = (self.location(instruction), Instant::now());
        let step = Step { number, location, asked: OnceCell::new(), started };
        (self.build.observer)(BuildEvent::StepStarted {
            number: step.number,
            stage: self.build.dockerfile.stage_label(self.stage.index),
            instruction: step.location.instruction.clone(),
            file: step.location.file.clone(),
            line: step.location.line,
        });
        if std::mem::take(&mut self.at_base) {
            self.take_in_base().map_err(|error| error.at(&step.location))?;
        }
        let outcome = work(self, &step).map_err(|error| error.at(&step.location))?;
        if let (true, StepSource::Cache(cache)) = (self.build.request.explain, &outcome.source) {
            let reason = format!("known in {cache}");
            (self.build.observer)(BuildEvent::StepExplained { number: step.number, reason });
        }
        if let Some(key) = step.asked.get() {
            let stage = self.build.dockerfile.stage_label(self.stage.index);
            self.build.note_inputs(self.shared_place(&stage, number), key);
        }
        self.build.count(outcome.source.is_known());
        if !outcome.is_unfinished {
            (self.build.observer)(BuildEvent::StepFinished {
                number: step.number,
                source: outcome.source,
                duration: step.started.elapsed(),
                layer_bytes: outcome.layer.descriptor()?.size,
            });
        }
        self.state.push_layer(outcome.layer, created_by);
        Ok(())
    }

    /// Unpacks a base that nobody has looked into yet where a RUN will need it unpacked: it is read once then, and not
    /// once for the step that needs to know what is in it and once more for the RUN. No step over it can be known,
    /// unless in a cache outside this machine.
    fn take_in_base(&self) -> Result<(), BuildError> {
        let runs = self.stage.instructions.iter().any(|one| matches!(one.command, Command::Run(_)));
        match runs && self.build.request.options.tiers.is_none() {
            // Where there is no sandbox, the RUN says so.
            true => self.build.workspace.unpack_new(&self.state.layers),
            false => Ok(()),
        }
    }

    fn run_step(&mut self, instruction: &Instruction, run: &Run) -> Result<(), BuildError> {
        self.devices(instruction, run)?;
        let options = &self.build.request.options;
        let privileged = matches!(run.security, Some((Security::Insecure, _)));
        if privileged && !options.insecure {
            let reason = "RUN --security=insecure is not allowed (build with --allow security.insecure)";
            return Err(self.refuse(instruction, reason));
        }
        let network = match run.network {
            Some((RunNetwork::None, _)) => Network::None,
            Some((RunNetwork::Host, _)) => Network::Host,
            _ => options.network,
        };
        let environment = self.state.config.config.env.clone();
        let step = RunStep {
            program: run.program(),
            shell: self.state.shell(),
            environment: self.state.scope.step_environment(&environment),
            proxies: self.build.proxies.clone(),
            working_directory: self.state.config.config.working_dir.clone(),
            user: self.state.config.config.user.clone(),
            network,
            hosts: options.hosts.clone(),
            privileged,
            mounts: Mounts::plan(self, instruction, run)?,
            source_date_epoch: self.build.request.source_date_epoch,
            timeout: self.build.request.step_timeout,
            shared_memory: options.shared_memory,
            limits: &options.limits,
            platform: self.state.platform.clone(),
            share: Limits::default(),
            host: &options.host,
        };
        step.mounts.note_caches(self.build);
        let created_by = self.run_history(&step, &environment);
        self.layer_step(instruction, created_by, |stage, at| {
            let key = step.key(&stage.state.layers);
            stage.known_or(at, &key, || {
                let mut output = |bytes: &[u8]| {
                    (stage.build.observer)(BuildEvent::StepOutput {
                        number: at.number,
                        bytes: bytes.to_vec(),
                    });
                };
                // Groups are made for steps that run alone.
                let step = RunStep { share: stage.build.step_limits(), ..step };
                let warn = |message| (stage.build.observer)(BuildEvent::Warning(message));
                let below = &stage.state.layers;
                let execute = || step.execute(stage.build, below, &at.location, &mut output, &warn);
                ahead::beside(stage, instruction, execute)
            })
        })
    }

    /// Devices by CDI names cannot be had here: those that are required are refused, and the others left out, as
    /// BuildKit leaves them out where it has none.
    fn devices(&self, instruction: &Instruction, run: &Run) -> Result<(), BuildError> {
        for device in &run.devices {
            let text =
                self.state.expand(device).map_err(|error| self.refuse(instruction, error.to_string()))?;
            let is_required = |field: &str| matches!(field, "required" | "required=true" | "required=1");
            if text.split(',').any(is_required) {
                let what = format!("RUN --device={text} (CDI devices; the BuildKit engine passes them on)");
                return Err(self.unsupported(instruction, what));
            }
            let location = self.location(instruction);
            let message = format!(
                "{location}: the device {text} is not required and left out: there are no CDI devices here"
            );
            (self.build.observer)(BuildEvent::Warning(message));
        }
        Ok(())
    }

    fn run_history(&self, step: &RunStep<'_>, environment: &[String]) -> String {
        let arguments = self.state.scope.arguments(environment);
        let count = match arguments.len() {
            0 => String::new(),
            count => format!("|{count} {} ", arguments.join(" ")),
        };
        let command = match &step.program {
            Program::Exec(words) => words.join(" "),
            Program::Shell(text) => format!("{} {text}", step.shell.join(" ")),
            Program::Script { name, .. } => format!("{} {}{name}", step.shell.join(" "), super::run::SCRIPTS),
        };
        format!("RUN {count}{command} # buildkit")
    }

    fn workdir(&mut self, instruction: &Instruction, path: &str) -> Result<(), BuildError> {
        if path.is_empty() {
            return Err(self.refuse(instruction, "WORKDIR needs a path that is not empty"));
        }
        let folder = self.state.absolute(path);
        let written = self.state.working_dir(path);
        let created_by = format!("WORKDIR {written}");
        self.state.config.config.working_dir = written;
        if folder == "/" {
            self.state.push_history(created_by, true);
            return Ok(());
        }
        self.layer_step(instruction, created_by, |stage, step| {
            let user = stage.state.config.config.user.clone();
            let key = KeyBuilder::new("workdir")
                .field("below", chain(&stage.state.layers).as_bytes())
                .field("folder", &folder)
                .field("user", &user)
                .field("epoch", format!("{:?}", stage.build.request.source_date_epoch))
                .finish();
            stage.known_or(step, &key, || {
                let view = stage.view()?;
                let owner = stage.owner(instruction, &view, &user)?;
                let attributes = stage.attributes(owner, None);
                let placed = place::folder(&view.tree, &folder, &attributes)
                    .map_err(|reason| stage.refuse(instruction, reason))?;
                let what = &step.location.instruction;
                let placed = PlacedList::Few(placed);
                fill::write_layer(stage.build.workspace, &placed, fill::Sources::default(), what)?
                    .map_err(|reason| stage.refuse(instruction, reason))
            })
        })
    }

    /// Returns the numbers of an owner as USER or --chown has it; `None` for nothing said.
    pub fn owner(
        &self,
        instruction: &Instruction,
        view: &View,
        text: &str,
    ) -> Result<Option<(u32, u32)>, BuildError> {
        if text.is_empty() {
            return Ok(None);
        }
        let owner = Owner::parse(text).map_err(|reason| self.refuse(instruction, reason))?;
        let numbers = super::accounts::resolve(self.build.workspace, view, &owner)?;
        numbers.map(Some).map_err(|reason| self.refuse(instruction, reason))
    }

    /// Returns the text of a here-document with the variables in scope.
    pub fn expand_document(&self, heredoc: &crate::dockerfile::Heredoc) -> Result<String, BuildError> {
        let environment = &self.state.config.config.env;
        let lookup = |name: &str| self.state.scope.get(environment, name).map(str::to_owned);
        Ok(self.build.dockerfile.expand_heredoc(heredoc, &lookup)?.text)
    }

    /// Returns what is given to the entries of a step.
    pub fn attributes(
        &self,
        owner: Option<(u32, u32)>,
        chmod: Option<crate::dockerfile::Chmod>,
    ) -> Attributes {
        Attributes { owner, chmod, source_date_epoch: self.build.request.source_date_epoch }
    }
}

fn base_state(build: &Build<'_>, index: usize) -> Result<State, BuildError> {
    let stage = &build.dockerfile.stages[index];
    let location = build.location(stage.span, &stage.original);
    let platform = match &stage.platform {
        None => build.request.platform.clone(),
        Some(word) => {
            let wanted = build.global(word)?;
            let parsed = wanted.parse::<Platform>();
            parsed.map_err(|error| BuildError::Instruction {
                location: location.clone(),
                reason: error.to_string(),
            })?
        }
    };
    match &build.graph.bases[index] {
        Origin::Stage(base) => Ok(build.stage(*base)?.child()),
        Origin::External(name) if name == "scratch" => Ok(build.scratch(&platform)),
        Origin::External(name) if matches!(build.contexts.find(name), Some(NamedContext::Folder(_))) => {
            Ok(build.scratch(&platform))
        }
        Origin::External(name) => build.image(name, &platform, &location),
    }
}
