//! What must hold between keys: names that refer to something, numbers within their limits.

use std::collections::BTreeMap;
use std::ops::Range;

use super::document::Source;
use super::error::Problem;
use super::{
    Configuration, IdentityRules, LabelRules, Metadata, Name, Pattern, ServiceIdentity, Suite, TagRule,
};
use crate::identity::docker;
use crate::identity::template::{Field, Template};

/// Smaller chunks cost more in requests than they carry.
const MIN_CHUNK_BYTES: u64 = 64 << 10;

/// Returns what is wrong, in the order of the sections; `span_at` finds the place of a key.
pub(super) fn check(
    configuration: &Configuration,
    span_at: impl Fn(&[&str]) -> Option<Range<usize>>,
    source: Source<'_>,
) -> Vec<Problem> {
    let mut checks = Checks { configuration, problems: Vec::new() };
    checks.schema();
    checks.project();
    checks.identity(&configuration.identity);
    checks.transfers();
    checks.chunks();
    checks.services();
    configuration.suite.iter().for_each(|(name, suite)| checks.suite(name.as_str(), suite));
    checks.suites_in_a_circle();
    checks.serve();
    let place = |path: &[String]| span_at(&path.iter().map(String::as_str).collect::<Vec<_>>());
    let problems = checks.problems.into_iter();
    problems.map(|found| source.problem(found.message, found.hint, place(&found.path))).collect()
}

struct Found {
    path: Vec<String>,
    message: String,
    hint: Option<String>,
}

struct Checks<'a> {
    configuration: &'a Configuration,
    problems: Vec<Found>,
}

impl Checks<'_> {
    fn report(&mut self, path: &[&str], message: String, hint: Option<String>) {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        self.problems.push(Found { path, message, hint });
    }

    fn schema(&mut self) {
        let schema = self.configuration.schema;
        if schema != super::SCHEMA {
            let hint = format!("this program reads schema {}; a newer one may read {schema}", super::SCHEMA);
            self.report(&["schema"], format!("the configuration has schema {schema}"), Some(hint));
        }
    }

    fn project(&mut self) {
        let Some(project) = &self.configuration.project else { return };
        if let Err(error) = oci::Repository::new(oci::Registry::local(), &project.to_lowercase()) {
            let hint = Some("use small letters, digits and - . _ /, such as acme/shop".to_owned());
            let message =
                format!("project {project:?} cannot stand in the name of an image: {}", error.reason);
            self.report(&["project"], message, hint);
        }
    }

    fn serve(&mut self) {
        for (key, message) in self.configuration.serve.registry.contradictions() {
            self.report(&["serve", "registry", key], message, None);
        }
    }

    fn identity(&mut self, rules: &IdentityRules) {
        if !(4..=64).contains(&rules.short_sha) {
            self.report(&["identity", "short-sha"], "short-sha goes from 4 to 64".to_owned(), None);
        }
        if !(16..=128).contains(&rules.max_length) {
            let hint = Some("128 is what registries take; 63 is what Kubernetes labels take".to_owned());
            self.report(&["identity", "max-length"], "max-length goes from 16 to 128".to_owned(), hint);
        }
        self.neighbour(rules);
        self.label_prefix(rules);
        self.tag_rules(&rules.tag, &["identity"]);
        self.labels(&rules.labels.templates, &rules.tag, &["identity", "labels"]);
        self.labels(&rules.annotations.templates, &rules.tag, &["identity", "annotations"]);
    }

    /// Checks the inputs of docker/metadata-action, which are for its engine alone.
    fn neighbour(&mut self, rules: &IdentityRules) {
        if rules.metadata == Metadata::Docker {
            let image = "example.org/image".to_owned();
            if let Err(error) = docker::inputs(rules, vec![image]).and_then(|inputs| inputs.check()) {
                self.report(&["identity", "metadata"], error.to_string(), None);
            }
            return;
        }
        let has_entries = |labels: &LabelRules| !labels.lines.is_empty();
        for (key, is_there) in [
            ("tags", rules.tags.is_some()),
            ("flavor", rules.flavor.is_some()),
            ("images", rules.images.is_some()),
        ] {
            if is_there {
                let hint = Some("native rules are [[identity.tag]] tables".to_owned());
                self.report(&["identity", key], format!("`{key}` needs metadata = \"docker\""), hint);
            }
        }
        for (key, is_there) in
            [("labels", has_entries(&rules.labels)), ("annotations", has_entries(&rules.annotations))]
        {
            if is_there {
                let hint = Some(format!("native ones are a table, [identity.{key}]"));
                let message = format!("lines of key=value in `{key}` need metadata = \"docker\"");
                self.report(&["identity", key], message, hint);
            }
        }
    }

    fn label_prefix(&mut self, rules: &IdentityRules) {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
        let prefix = rules.label_prefix.as_deref().unwrap_or_default();
        if prefix.len() > 200 || !prefix.chars().all(allowed) || prefix.ends_with('.') {
            let message = format!("{prefix:?} cannot start the keys of labels");
            let hint = Some("use small letters, digits and . _ - /, such as dev.acme.shop".to_owned());
            self.report(&["identity", "label-prefix"], message, hint);
        }
    }

    fn tag_rules(&mut self, rules: &[TagRule], table: &[&str]) {
        for (index, rule) in rules.iter().enumerate() {
            self.tag_rule(rule, &[table, &["tag", &index.to_string()]].concat());
        }
    }

    fn labels(&mut self, labels: &BTreeMap<String, Template>, rules: &[TagRule], table: &[&str]) {
        for (key, template) in labels {
            let path = [table, &[key]].concat();
            if template.fields().any(|field| *field == Field::Image) {
                let message =
                    "{image} is for cache places; a label cannot name the image it is in".to_owned();
                self.report(&path, message, None);
            }
            self.groups(template, rules, &path);
        }
    }

    /// Reports `{match:NAME}` where no expression of `rules` has such a group.
    fn groups(&mut self, template: &Template, rules: &[TagRule], path: &[&str]) {
        let regexes = rules.iter().filter_map(|rule| rule.parse.as_ref()?.regex.as_ref());
        let known: Vec<&str> = regexes.flat_map(Pattern::group_names).collect();
        for field in template.fields() {
            let Field::Group(name) = field else { continue };
            if known.contains(&name.as_str()) {
                continue;
            }
            let near = crate::suggest::closest(name, known.iter().copied());
            let hint = match (near, known.is_empty()) {
                (Some(near), _) => format!("did you mean {{match:{near}}}?"),
                (None, true) => "give the rule parse = { regex = \"...(?<NAME>...)\" }".to_owned(),
                (None, false) => format!("there are {}", known.join(", ")),
            };
            self.report(path, format!("no regular expression has a group {name:?}"), Some(hint));
        }
    }

    fn tag_rule(&mut self, rule: &TagRule, table: &[&str]) {
        if rule.on.is_empty() {
            self.report(&[table, &["on"]].concat(), "the rule is for no event".to_owned(), None);
        }
        for (at, template) in rule.tags.iter().enumerate() {
            let at = at.to_string();
            let path = [table, &["tags", &at]].concat();
            if let Some(message) = never_a_tag(template) {
                self.report(&path, message, None);
            }
            self.groups(template, std::slice::from_ref(rule), &path);
        }
        for (at, template) in rule.immutable.iter().enumerate().filter(|(_, t)| !rule.tags.contains(t)) {
            let near = crate::suggest::closest(template.as_str(), rule.tags.iter().map(Template::as_str));
            let hint = near.map_or("`immutable` repeats some of the rule's `tags`".to_owned(), |near| {
                format!("did you mean {near:?}?")
            });
            let message = format!("{:?} is not one of the rule's tags", template.as_str());
            self.report(&[table, &["immutable", &at.to_string()]].concat(), message, Some(hint));
        }
    }

    fn transfers(&mut self) {
        let push = &self.configuration.defaults.push;
        push.check_transfers(|key, why| {
            self.report(&[&["defaults", "push"], key].concat(), why.to_owned(), None);
        });
    }

    fn chunks(&mut self) {
        for (host, size) in &self.configuration.defaults.push.chunk {
            let path = ["defaults", "push", "chunk", host.as_str()];
            if let Err(error) = host.parse::<oci::Registry>() {
                self.report(&path, error.to_string(), None);
            }
            if size.0 < MIN_CHUNK_BYTES {
                self.report(&path, "chunks have at least 64KiB".to_owned(), None);
            }
        }
    }

    fn services(&mut self) {
        for (name, service) in &self.configuration.service {
            for (base, needed) in &service.needs.0 {
                self.service_is_there(needed, &["service", name.as_str(), "needs", base]);
            }
            self.identity_of_service(name.as_str(), &service.identity);
        }
    }

    fn identity_of_service(&mut self, name: &str, own: &ServiceIdentity) {
        let table = ["service", name, "identity"];
        let rules = own.tag.as_deref();
        self.tag_rules(rules.unwrap_or_default(), &table);
        let rules = rules.unwrap_or(&self.configuration.identity.tag);
        self.labels(&own.labels, rules, &[&table[..], &["labels"]].concat());
        self.labels(&own.annotations, rules, &[&table[..], &["annotations"]].concat());
        let Some(prefix) = &own.tag_prefix else { return };
        let path = [&table[..], &["tag-prefix"]].concat();
        if prefix.is_empty() {
            let hint = Some("leave it out for NAME/, NAME-, NAME@ and releases/NAME/".to_owned());
            self.report(&path, "every git tag starts with nothing".to_owned(), hint);
        }
        let mut others = self.configuration.service.iter().take_while(|(other, _)| other.as_str() != name);
        let same = others.find(|(_, other)| other.identity.tag_prefix.as_ref() == Some(prefix));
        if let Some((other, _)) = same {
            let message = format!("services {other} and {name} both are released by git tags {prefix}...");
            self.report(&path, message, None);
        }
    }

    fn suite(&mut self, name: &str, suite: &Suite) {
        let at = |key: &'static str| ["suite", name, key];
        match (&suite.run, &suite.host) {
            (None, None) => {
                let hint = Some("`run` is a command inside the image, `host` one on this machine".to_owned());
                self.report(&["suite", name], format!("suite {name} has neither `run` nor `host`"), hint);
            }
            (Some(_), _) if suite.image.is_none() => {
                let hint = Some("name the service whose image `run` runs inside".to_owned());
                self.report(&at("run"), format!("suite {name} has `run` and no `image`"), hint);
            }
            (Some(_), Some(_)) => {
                self.report(
                    &at("host"),
                    format!("suite {name} has both `run` and `host`"),
                    Some("make two".to_owned()),
                );
            }
            (Some(command), None) | (None, Some(command)) if command.is_empty() => {
                let key = if suite.run.is_some() { "run" } else { "host" };
                self.report(&at(key), "the command is empty".to_owned(), None);
            }
            _ => {}
        }
        if !(1..=256).contains(&suite.shards) {
            self.report(&at("shards"), "shards go from 1 to 256".to_owned(), None);
        }
        let keyed = suite.image.iter().map(|s| (s, "image")).chain(suite.start.iter().map(|s| (s, "start")));
        for (service, key) in keyed.chain(suite.services.iter().map(|s| (s, "services"))) {
            self.service_is_there(service, &at(key));
        }
        for needed in suite.needs.iter().filter(|needed| !self.configuration.suite.contains_key(*needed)) {
            let known = self.configuration.suite.keys().map(Name::as_str);
            let hint =
                crate::suggest::closest(needed.as_str(), known).map(|near| format!("did you mean {near:?}?"));
            self.report(
                &at("needs"),
                format!("there is no suite {needed:?}", needed = needed.as_str()),
                hint,
            );
        }
    }

    fn service_is_there(&mut self, service: &Name, path: &[&str]) {
        let services = &self.configuration.service;
        // With no [service] at all, the one service is named after the folder, which is not known here.
        if services.is_empty() || services.contains_key(service) {
            return;
        }
        let known: Vec<&str> = services.keys().map(Name::as_str).collect();
        let hint = match crate::suggest::closest(service.as_str(), known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("there are {}", known.join(", ")),
        };
        self.report(path, format!("there is no service {:?}", service.as_str()), Some(hint));
    }

    fn suites_in_a_circle(&mut self) {
        let suites = &self.configuration.suite;
        let needs = |name: &Name| suites.get(name).map(|suite| suite.needs.clone()).unwrap_or_default();
        if let Err(circle) = crate::plan::order::waves(suites.keys(), needs) {
            let message = format!("suites need each other in a circle: {circle}");
            self.report(&["suite", circle.first().as_str(), "needs"], message, None);
        }
    }
}

/// Returns why a template can never give a tag, if it cannot.
fn never_a_tag(template: &Template) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if template.fields().any(|field| *field == Field::Image) {
        return Some("{image} is for cache places and gives no tag".to_owned());
    }
    let dates = template.fields().filter_map(|field| match field {
        Field::Date(format) => {
            crate::identity::template::format_date(format, jiff::Timestamp::UNIX_EPOCH).ok()
        }
        _ => None,
    });
    let texts = template.literals().map(str::to_owned).chain(dates);
    let wrong = texts.flat_map(|text| text.chars().collect::<Vec<_>>()).find(|c| !allowed(*c));
    if let Some(wrong) = wrong {
        return Some(format!("{wrong:?} may not stand in a tag, only letters, digits, _ . and -"));
    }
    match template.as_str().chars().next() {
        None => Some("a tag is not empty".to_owned()),
        Some(first @ ('.' | '-')) => Some(format!("a tag does not start with {first:?}")),
        Some(_) => None,
    }
}
