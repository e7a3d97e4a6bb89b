//! The file that a workflow becomes: only what differs from the defaults, in the order of the documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use pipeline::configuration::{
    Created, IdentityRules, Latest, Metadata, Prefix, PullRequestSha, PushEvent, TagRule,
};
use pipeline::moving_in::{FoundSecret, FoundService, Phrase};

use super::super::quoted;
use super::Taken;

/// Writes the configuration; what it cannot say is added to what was not taken over.
pub(super) fn configuration(taken: &mut Taken<'_>, file: &Path, registry: Option<&Prefix>) -> String {
    let mut text = format!("# Taken over from {} by `plimsoll init --from workflow`.\n", file.display());
    text.push_str("# `plimsoll plan --as pr:42` shows what would happen, `plimsoll schema config` all keys.\nschema = 1\n");
    let _ = writeln!(text, "project = {}", quoted(&taken.repository));
    let prefix = registry.map(ToString::to_string).or_else(|| common_prefix(&taken.found.services));
    if let Some(prefix) = &prefix {
        let _ = writeln!(text, "registry = {}", quoted(prefix));
    }
    let rules = taken.rules().clone();
    text.push_str(&identity(&rules));
    for rule in &rules.tag {
        text.push_str(&tag_rule("identity", rule));
    }
    for key in ["labels", "annotations"] {
        let table = labels(taken, key);
        if !table.is_empty() {
            let _ = write!(text, "\n[identity.{key}]\n{table}");
        }
    }
    text.push_str(&defaults(taken));
    for at in 0..taken.found.services.len() {
        text.push_str(&service(taken, at, prefix.as_deref(), registry.is_some()));
    }
    text
}

fn identity(rules: &IdentityRules) -> String {
    let mut lines = Vec::new();
    if rules.metadata == Metadata::Docker {
        lines.push("metadata = \"docker\"".to_owned());
    }
    let strings = [("tags", &rules.tags), ("flavor", &rules.flavor)];
    for (key, list) in strings.iter().filter_map(|(key, list)| Some((key, list.as_ref()?))) {
        lines.push(format!("{key} = {}", list_of(list.iter().map(String::as_str))));
    }
    if rules.short_sha != 7 {
        lines.push(format!("short-sha = {}", rules.short_sha));
    }
    if rules.pr_sha == PullRequestSha::Merge {
        lines.push("pr-sha = \"merge\"".to_owned());
    }
    if rules.created == Created::Now {
        lines.push("created = \"now\"".to_owned());
    }
    if rules.metadata == Metadata::Native {
        lines.push(format!("latest = {}", quoted(latest(rules.latest))));
        if rules.tag.is_empty() {
            lines.push("tag = []".to_owned());
        }
    }
    format!("\n[identity]\n{}\n", lines.join("\n"))
}

fn latest(latest: Latest) -> &'static str {
    match latest {
        Latest::HighestSemver => "highest-semver",
        Latest::DefaultBranch => "default-branch",
        Latest::Auto => "auto",
        Latest::Never => "never",
    }
}

fn tag_rule(table: &str, rule: &TagRule) -> String {
    let mut text = format!("\n[[{table}.tag]]\non = {}\n", quoted(&rule.name()));
    if let Some(parse) = &rule.parse {
        let _ = writeln!(text, "parse = {}", quoted(&parse.to_string()));
    }
    let _ = writeln!(text, "tags = {}", list_of(rule.tags.iter().map(|template| template.as_str())));
    text
}

/// Returns labels or annotations of the first image; those that others have besides are no different.
fn labels(taken: &mut Taken<'_>, key: &str) -> String {
    let (mut lines, mut refused) = (BTreeMap::new(), Vec::new());
    for service in &taken.found.services {
        let phrases = if key == "labels" { &service.naming.labels } else { &service.naming.annotations };
        for phrase in phrases {
            match label(phrase, taken.found.trials.len()) {
                Ok((key, value)) => drop(lines.entry(key).or_insert(value)),
                Err(reason) => refused.push((phrase.line, format!("`{}`", phrase.source()), reason)),
            }
        }
    }
    for (line, what, reason) in refused {
        taken.refuse(line, what, reason);
    }
    lines.iter().map(|(key, value)| format!("{} = {}\n", quoted(key), quoted(value))).collect()
}

fn label(phrase: &Phrase, trials: usize) -> Result<(String, String), &'static str> {
    let text = phrase
        .constant(trials.max(1))
        .ok_or("it depends on the event: write it with fields such as {branch}")?;
    let (key, value) = text.split_once('=').ok_or("it is no key=value")?;
    if value.contains("{{") {
        return Err(
            "expressions of docker/metadata-action are not read in labels: write it with fields such as {sha:long}",
        );
    }
    Ok((key.trim().to_owned(), value.replace('{', "{{").replace('}', "}}")))
}

fn defaults(taken: &mut Taken<'_>) -> String {
    let services = &taken.found.services;
    let mut text = String::new();
    if let Some(platforms) = common_platforms(services) {
        let _ = writeln!(text, "platforms = {}", list_of(platforms.iter().map(String::as_str)));
    }
    if services.iter().any(|service| service.sbom) {
        text.push_str("sbom = [\"spdx\"]\n");
    }
    if !text.is_empty() {
        text = format!("\n[defaults]\n{text}");
    }
    let places = |pick: fn(&FoundService) -> &Vec<String>| {
        let mut seen = BTreeSet::new();
        let places = services.iter().flat_map(pick).filter(|place| seen.insert((*place).clone()));
        places.cloned().collect::<Vec<String>>()
    };
    let (read, write) = (places(|service| &service.cache_read), places(|service| &service.cache_write));
    if !read.is_empty() || !write.is_empty() {
        let list = |places: &[String]| list_of(places.iter().map(String::as_str));
        let _ = write!(text, "\n[defaults.cache]\nread = {}\nwrite = {}\n", list(&read), list(&write));
    }
    if let Some(events) = taken.push_events() {
        let _ = write!(text, "\n[defaults.push]\nevents = {}\n", list_of(events.into_iter().map(push_event)));
    }
    text
}

/// Returns a kind of event as it stands in the configuration.
pub(super) fn push_event(event: PushEvent) -> &'static str {
    match event {
        PushEvent::PullRequest => "pull_request",
        PushEvent::Push => "push",
        PushEvent::Tag => "tag",
        PushEvent::Schedule => "schedule",
        PushEvent::Dispatch => "dispatch",
        PushEvent::MergeGroup => "merge_group",
    }
}

fn service(taken: &mut Taken<'_>, at: usize, prefix: Option<&str>, is_given: bool) -> String {
    let found = taken.found;
    let service = &found.services[at];
    let mut text = format!("\n[service.{}]\n", key(&service.name));
    let by_prefix = prefix.map(|prefix| format!("{prefix}/{}", service.name));
    let image = service.images.first().filter(|_| !is_given).map(|image| own_image(taken, at, image));
    if let Some(image) = image.filter(|image| by_prefix.as_ref() != Some(image)) {
        let _ = writeln!(text, "image = {}", quoted(&image));
    }
    let plain =
        [("context", &service.context), ("dockerfile", &service.dockerfile), ("target", &service.target)];
    for (key, value) in plain.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
        let _ = writeln!(text, "{key} = {}", quoted(value));
    }
    if common_platforms(&found.services).is_none() && !service.platforms.is_empty() {
        let _ = writeln!(text, "platforms = {}", list_of(service.platforms.iter().map(String::as_str)));
    }
    let pairs = |pairs: Vec<(&String, String)>| {
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{} = {value}", key(name))).collect();
        format!("{{ {} }}", pairs.join(", "))
    };
    if !service.args.is_empty() {
        let _ = writeln!(
            text,
            "args = {}",
            pairs(service.args.iter().map(|(name, value)| (name, quoted(value))).collect())
        );
    }
    if !service.secrets.is_empty() {
        let source = |secret: &FoundSecret| match secret {
            FoundSecret::Environment(name) => format!("{{ env = {} }}", quoted(name)),
            FoundSecret::File(path) => format!("{{ file = {} }}", quoted(path)),
        };
        let _ = writeln!(
            text,
            "secrets = {}",
            pairs(service.secrets.iter().map(|(id, secret)| (id, source(secret))).collect())
        );
    }
    if let Some(own) = taken.own_rules(at) {
        let table = format!("service.{}.identity", key(&service.name));
        if own.latest != taken.rules().latest {
            let _ = write!(text, "\n[{table}]\nlatest = {}\n", quoted(latest(own.latest)));
        }
        for rule in &own.tag {
            text.push_str(&tag_rule(&table, rule));
        }
    }
    text
}

/// Returns the repository of an image. No two services share one, so of two that do the later gets its
/// own, beside the other.
fn own_image(taken: &mut Taken<'_>, at: usize, image: &str) -> String {
    let found = taken.found;
    let is_taken =
        found.services[..at].iter().any(|other| other.images.first().map(String::as_str) == Some(image));
    if !is_taken {
        return image.to_owned();
    }
    let service = &found.services[at];
    let folder = image.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let own = format!("{folder}{}", service.name);
    let reason = format!("another service goes there, and no two share a repository: it goes to `{own}`");
    taken.refuse(service.line, format!("the repository `{image}` of `{}`", service.name), reason);
    own
}

/// Returns the platforms that all images have.
fn common_platforms(services: &[FoundService]) -> Option<&Vec<String>> {
    let first = &services.first()?.platforms;
    (!first.is_empty() && services.iter().all(|service| service.platforms == *first)).then_some(first)
}

/// Returns what stands in front of every image's name, where the names are those of the services.
fn common_prefix(services: &[FoundService]) -> Option<String> {
    let prefix = |service: &FoundService| {
        let (prefix, name) = service.images.first()?.rsplit_once('/')?;
        (name == service.name && prefix.parse::<Prefix>().is_ok()).then(|| prefix.to_owned())
    };
    let first = services.iter().find_map(prefix)?;
    Some(first)
}

fn list_of<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<String> = items.map(quoted).collect();
    let line = format!("[{}]", items.join(", "));
    if line.len() <= 110 { line } else { format!("[\n    {},\n]", items.join(",\n    ")) }
}

fn key(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_bare { name.to_owned() } else { quoted(name) }
}

/// Returns tags for people.
pub(super) fn listed(tags: &[String]) -> String {
    if tags.is_empty() { "none".to_owned() } else { tags.join(", ") }
}
