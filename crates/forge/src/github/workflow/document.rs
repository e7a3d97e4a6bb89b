//! A workflow as values that know their lines. What nobody asks about is not kept.
//!
//! Source: GitHub's documentation, "Workflow syntax for GitHub Actions".

use pipeline::yaml::{Node, Value, YamlError};

use super::WorkflowError;

/// A workflow.
#[derive(Debug)]
pub(super) struct Workflow {
    /// What `on:` says.
    pub(super) on: Node,
    pub(super) env: Vec<(String, Text)>,
    pub(super) jobs: Vec<Job>,
}

/// A job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) line: usize,
    pub(super) condition: Option<Text>,
    pub(super) env: Vec<(String, Text)>,
    pub(super) matrix: Option<Node>,
    /// A workflow that is called in place of steps.
    pub(super) calls: Option<Text>,
    pub(super) steps: Vec<Step>,
}

/// A step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) line: usize,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) condition: Option<Text>,
    /// The action, without its version: `docker/build-push-action`.
    pub(super) action: Option<String>,
    pub(super) is_script: bool,
    pub(super) with: Vec<(String, Text)>,
    pub(super) env: Vec<(String, Text)>,
}

/// A scalar, and where its first line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) line: usize,
}

impl Text {
    fn of(node: &Node) -> Option<Self> {
        if node.is_null() {
            return Some(Self { text: String::new(), line: node.line });
        }
        node.text().map(|text| Self { text: text.to_owned(), line: node.line })
    }

    /// Returns the lines with something on them that are no comment, each with its own line.
    pub(super) fn entries(&self) -> Vec<Text> {
        let lines = self.text.lines().enumerate();
        let lines = lines.map(|(at, text)| Text { text: text.trim().to_owned(), line: self.line + at });
        lines.filter(|line| !line.text.is_empty() && !line.text.starts_with('#')).collect()
    }
}

impl Step {
    pub(super) fn input(&self, name: &str) -> Option<&Text> {
        let found = self.with.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, text)| text).filter(|text| !text.text.trim().is_empty())
    }

    /// Returns what the step is called, for people.
    pub(super) fn title(&self) -> String {
        let action = self.action.as_ref().map(|action| format!("`{action}`"));
        let named = self.name.as_ref().map(|name| format!("step {name:?}"));
        named.or(action).unwrap_or_else(|| "a script".to_owned())
    }
}

/// Reads a workflow.
pub(super) fn read(text: &str) -> Result<Workflow, WorkflowError> {
    let root = pipeline::yaml::read(text)?;
    let on = root.get("on").ok_or_else(|| wrong(&root, "it has no `on:`, so it is no workflow"))?;
    let jobs = root.get("jobs").ok_or_else(|| wrong(&root, "it has no `jobs:`, so it is no workflow"))?;
    if !matches!(jobs.value, Value::Mapping(_)) {
        return Err(wrong(jobs, &format!("`jobs:` is {} and should be a mapping", jobs.kind())));
    }
    let jobs = jobs.entries().iter().map(|(key, node)| {
        if !matches!(node.value, Value::Mapping(_)) {
            return Err(wrong(node, &format!("a job is {} and should be a mapping", node.kind())));
        }
        job(key, node, text)
    });
    Ok(Workflow { on: on.clone(), env: pairs(root.get("env"), text), jobs: jobs.collect::<Result<_, _>>()? })
}

fn job(key: &Node, node: &Node, text: &str) -> Result<Job, WorkflowError> {
    let steps = match node.get("steps") {
        Some(steps) if !matches!(steps.value, Value::Sequence(_)) && !steps.is_null() => {
            return Err(wrong(steps, &format!("`steps:` is {} and should be a list", steps.kind())));
        }
        steps => steps.map(Node::items).unwrap_or_default(),
    };
    Ok(Job {
        id: key.text().unwrap_or_default().to_owned(),
        line: key.line,
        condition: node.get("if").and_then(Text::of),
        env: pairs(node.get("env"), text),
        matrix: node.get("strategy").and_then(|strategy| strategy.get("matrix")).cloned(),
        calls: node.get("uses").and_then(Text::of),
        steps: steps.iter().map(|step| self::step(step, text)).collect(),
    })
}

fn step(node: &Node, text: &str) -> Step {
    let own = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
    let action = own("uses").map(|uses| uses.split('@').next().unwrap_or_default().to_lowercase());
    Step {
        line: node.line,
        id: own("id"),
        name: own("name"),
        condition: node.get("if").and_then(Text::of),
        action,
        is_script: node.get("run").is_some(),
        with: pairs(node.get("with"), text),
        env: pairs(node.get("env"), text),
    }
}

/// Returns a mapping of scalars. A list is taken as one entry a line, as some people write it.
fn pairs(node: Option<&Node>, source: &str) -> Vec<(String, Text)> {
    let entries = node.map(Node::entries).unwrap_or_default();
    let pair = |(key, value): &(Node, Node)| {
        let text = match &value.value {
            Value::Sequence(items) => {
                let lines: Vec<&str> = items.iter().filter_map(Node::text).collect();
                Text { text: lines.join("\n"), line: value.line }
            }
            _ => {
                let text = Text::of(value)?;
                Text { line: text.line + begins_below(source, text.line, &text.text), ..text }
            }
        };
        Some((key.text()?.to_owned(), text))
    };
    entries.iter().filter_map(pair).collect()
}

/// Returns how many lines below its `|` or `>` a block begins; 0 where the text stands on the line itself.
fn begins_below(source: &str, line: usize, text: &str) -> usize {
    let Some(first) = text.lines().next() else { return 0 };
    let lines = source.lines().skip(line.saturating_sub(1)).take(4).enumerate();
    let mut found = lines.filter(|(_, source)| source.contains(first.trim()) && !first.trim().is_empty());
    found.next().map_or(0, |(below, _)| below)
}

fn wrong(node: &Node, reason: &str) -> WorkflowError {
    WorkflowError::Yaml(YamlError { line: node.line, column: node.column, reason: reason.to_owned() })
}
