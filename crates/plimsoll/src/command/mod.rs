//! One file for each command: its arguments, its help, what it runs.

mod bake;
mod build;
mod cache;
mod completions;
mod copy;
mod diff;
mod digest;
mod doctor;
mod exec;
mod explain;
mod handoff;
mod import;
mod init;
mod inspect;
mod layers;
mod load;
mod login;
mod ls;
mod meta;
mod migrate;
mod plan;
mod pull;
mod push;
mod reproducible;
mod rm;
mod run;
mod save;
mod schema;
mod serve;
mod side;
mod tag;
mod test;

use clap::{Args, Subcommand};

use crate::error::Error;
use crate::session::Session;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(init::Arguments),
    Doctor(doctor::Arguments),
    Run(run::Arguments),
    Build(build::Arguments),
    Bake(bake::Arguments),
    Cache(cache::Arguments),
    Test(test::Arguments),
    Exec(exec::Arguments),
    Handoff(handoff::Arguments),
    Plan(plan::Arguments),
    Meta(meta::Arguments),
    Import(import::Arguments),
    Inspect(inspect::Arguments),
    Layers(layers::Arguments),
    Ls(ls::Arguments),
    Digest(digest::Arguments),
    Diff(diff::Arguments),
    Push(push::Arguments),
    Pull(pull::Arguments),
    Copy(copy::Arguments),
    Migrate(migrate::Arguments),
    Tag(tag::Arguments),
    Save(save::Arguments),
    Load(load::Arguments),
    Rm(rm::Arguments),
    Login(login::Login),
    Logout(login::Logout),
    Serve(serve::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
}

impl Command {
    /// Returns the definition of the command `name`; `None` where there is no such command. Defining all of them takes
    /// longer than much of what they do.
    pub fn definition(name: &str) -> Option<clap::Command> {
        Some(match name {
            "init" => init::Arguments::augment_args(clap::Command::new("init")),
            "doctor" => doctor::Arguments::augment_args(clap::Command::new("doctor")),
            "run" => run::Arguments::augment_args(clap::Command::new("run")),
            "build" => build::Arguments::augment_args(clap::Command::new("build")),
            "bake" => bake::Arguments::augment_args(clap::Command::new("bake")),
            "cache" => cache::Arguments::augment_args(clap::Command::new("cache")),
            "test" => test::Arguments::augment_args(clap::Command::new("test")),
            "exec" => exec::Arguments::augment_args(clap::Command::new("exec")),
            "handoff" => handoff::Arguments::augment_args(clap::Command::new("handoff")),
            "plan" => plan::Arguments::augment_args(clap::Command::new("plan")),
            "meta" => meta::Arguments::augment_args(clap::Command::new("meta")),
            "import" => import::Arguments::augment_args(clap::Command::new("import")),
            "inspect" => inspect::Arguments::augment_args(clap::Command::new("inspect")),
            "layers" => layers::Arguments::augment_args(clap::Command::new("layers")),
            "ls" => ls::Arguments::augment_args(clap::Command::new("ls")),
            "digest" => digest::Arguments::augment_args(clap::Command::new("digest")),
            "diff" => diff::Arguments::augment_args(clap::Command::new("diff")),
            "push" => push::Arguments::augment_args(clap::Command::new("push")),
            "pull" => pull::Arguments::augment_args(clap::Command::new("pull")),
            "copy" => copy::Arguments::augment_args(clap::Command::new("copy")),
            "migrate" => migrate::Arguments::augment_args(clap::Command::new("migrate")),
            "tag" => tag::Arguments::augment_args(clap::Command::new("tag")),
            "save" => save::Arguments::augment_args(clap::Command::new("save")),
            "load" => load::Arguments::augment_args(clap::Command::new("load")),
            "rm" => rm::Arguments::augment_args(clap::Command::new("rm")),
            "login" => login::Login::augment_args(clap::Command::new("login")),
            "logout" => login::Logout::augment_args(clap::Command::new("logout")),
            "serve" => serve::Arguments::augment_args(clap::Command::new("serve")),
            "schema" => schema::Arguments::augment_args(clap::Command::new("schema")),
            "completions" => completions::Arguments::augment_args(clap::Command::new("completions")),
            _ => return None,
        })
    }

    /// Runs the command.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        match self {
            Self::Init(arguments) => arguments.run(session),
            Self::Doctor(arguments) => arguments.run(session),
            Self::Run(arguments) => arguments.run(session),
            Self::Build(arguments) => arguments.run(session),
            Self::Bake(arguments) => arguments.run(session),
            Self::Cache(arguments) => arguments.run(session),
            Self::Test(arguments) => arguments.run(session),
            Self::Exec(arguments) => {
                session.refuse_dry_run("exec")?;
                arguments.run(session)
            }
            Self::Handoff(arguments) => arguments.run(session),
            Self::Plan(arguments) => arguments.run(session),
            Self::Meta(arguments) => arguments.run(session),
            Self::Import(arguments) => arguments.run(session),
            Self::Inspect(arguments) => arguments.run(session),
            Self::Layers(arguments) => arguments.run(session),
            Self::Ls(arguments) => arguments.run(session),
            Self::Digest(arguments) => arguments.run(session),
            Self::Diff(arguments) => arguments.run(session),
            Self::Push(arguments) => arguments.run(session),
            Self::Pull(arguments) => arguments.run(session),
            Self::Copy(arguments) => arguments.run(session),
            Self::Migrate(arguments) => arguments.run(session),
            Self::Tag(arguments) => arguments.run(session),
            Self::Save(arguments) => arguments.run(session),
            Self::Load(arguments) => arguments.run(session),
            Self::Rm(arguments) => arguments.run(session),
            Self::Login(arguments) => arguments.run(session),
            Self::Logout(arguments) => arguments.run(session),
            Self::Serve(arguments) => arguments.run(session),
            Self::Schema(arguments) => arguments.run(session),
            Self::Completions(arguments) => arguments.run(session),
        }
    }
}
