//! Why tags and labels are there, or are not, as tables: what `meta --explain` adds.

use std::fmt;

use pipeline::identity::{Explained, ExplainedLabel, Movement};
use serde::Serialize;

use crate::ui::table::{Align, Table};

/// Everything there is to say about the names of one service.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// What became of every template, and of rules that were not used.
    #[serde(rename = "explained")]
    pub tags: Vec<Explained>,
    /// Where every label came from.
    #[serde(rename = "explained_labels")]
    pub labels: Vec<ExplainedLabel>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = ["TEMPLATE", "TAG", "RULE", "WHY"].map(|name| (name, Align::Left));
        let mut tags = Table::new(&columns);
        self.tags.iter().for_each(|explained| tags.row(tag_row(explained)));
        let mut labels = Table::new(&["LABEL", "SOURCE", "VALUE"].map(|name| (name, Align::Left)));
        self.labels.iter().for_each(|explained| labels.row(label_row(explained)));
        write!(f, "\n{}\n{}", indented(&tags), indented(&labels))
    }
}

fn tag_row(explained: &Explained) -> Vec<String> {
    let Explained { template, rule, tag, movement, dropped, note } = explained;
    let why = match (dropped, movement) {
        (Some(reason), _) => reason.clone(),
        (None, Some(Movement::Immutable)) => "refuses to move".to_owned(),
        (None, Some(Movement::Commit)) => "is of this commit".to_owned(),
        (None, _) => "moves when everything is green".to_owned(),
    };
    let why = match note {
        Some(note) => format!("{why}; {note}"),
        None => why,
    };
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { line(text) };
    let tag = tag.as_ref().map_or("-", oci::Tag::as_str);
    vec![or_dash(template), tag.to_owned(), line(rule), line(&why)]
}

fn label_row(explained: &ExplainedLabel) -> Vec<String> {
    let ExplainedLabel { key, value, source, dropped } = explained;
    let shown = match (value, dropped) {
        (Some(value), _) => line(value),
        (None, reason) => format!("none: {}", line(reason.as_deref().unwrap_or_default())),
    };
    vec![line(key), line(source), shown]
}

/// Returns a text on one line: what came from an event must not draw lines of its own, which a CI
/// host might take for commands.
pub fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn indented(table: &Table) -> String {
    table.to_string().lines().map(|line| format!("  {line}\n")).collect()
}
