//! `plan`: what a run would do, and why.

use std::fmt;

use oci::{Platform, Tag};
use pipeline::forge::Outputs;
use pipeline::plan::{Action, Plan, PlannedService, PushPlan};
use pipeline::text::Text;
use serde::Serialize;

use crate::error::Error;
use crate::project::Project;
use crate::session::Session;
use crate::ui::table::{Align, Table};

/// Shows what a run would build, promote, skip, tag and test, and why
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll plan
  $ plimsoll plan api web --as pr:42
  $ plimsoll plan --event payload.json
  $ plimsoll plan --as tag:v1.2.3 --format json | jq .services.api.tags")]
pub struct Arguments {
    /// The services, with those they need [default: all]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// A plan for people; as JSON it is the plan itself.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Shown(pub Plan);

impl Arguments {
    /// Shows the plan.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let project = Project::open(session)?;
        let plan = project.plan(&self.services)?;
        project.forge.write_outputs(&Outputs::of_plan(&plan))?;
        session.ui.document(&Shown(plan))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.0;
        writeln!(f, "event     {}", super::meta::event_text(&plan.event))?;
        writeln!(f, "revision  {}", plan.revision)?;
        writeln!(f, "version   {}", plan.version)?;
        writeln!(f, "push      {}", push_text(&plan.push))?;
        writeln!(f)?;
        let mut table = Table::new(&[
            ("SERVICE", Align::Left),
            ("ACTION", Align::Left),
            ("IMAGE", Align::Left),
            ("PLATFORMS", Align::Left),
            ("REASON", Align::Left),
        ]);
        for name in plan.order.iter().flatten() {
            table.row(row(name.as_str(), &plan.services[name]));
        }
        writeln!(f, "{table}")?;
        for name in plan.order.iter().flatten() {
            writeln!(f, "tags of {name}: {}", tags_text(&plan.services[name].tags))?;
        }
        for (name, suite) in &plan.suites {
            let services: Vec<&str> = suite.services.iter().map(|service| service.as_str()).collect();
            writeln!(f, "suite {name}: tests {}", services.join(", "))?;
        }
        Ok(())
    }
}

fn row(name: &str, service: &PlannedService) -> Vec<String> {
    vec![
        name.to_owned(),
        action_text(&service.action).to_owned(),
        service.image.familiar(),
        service.platforms.iter().map(Text::<Platform>::to_string).collect::<Vec<_>>().join(", "),
        service.reason.clone(),
    ]
}

fn tags_text(tags: &[Tag]) -> String {
    if tags.is_empty() {
        "none".to_owned()
    } else {
        tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ")
    }
}

fn action_text(action: &Action) -> &'static str {
    match action {
        Action::Build => "build",
        Action::Promote { .. } => "promote",
        Action::Skip => "skip",
    }
}

fn push_text(push: &PushPlan) -> String {
    match push {
        PushPlan::Registry => "to the registry".to_owned(),
        PushPlan::Archive { reason } => format!("as archives: {reason}"),
        PushPlan::Nowhere { reason } => format!("nowhere: {reason}"),
    }
}
