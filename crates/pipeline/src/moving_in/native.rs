//! Rules by kind of event, found by example: what an entry gives in the trials of a kind shows which
//! fields it is made of.
//!
//! The trials of a kind differ in everything that may differ (commit, number, date, run), so a part
//! that stays the same in all of them is a literal, and a part that is a field's value in all of
//! them is that field. What comes out is replayed against every trial before it is believed.

use std::collections::BTreeSet;

use super::replay::{differences, outcome_of_entry, tags_of_rules};
use super::{Found, FoundService, Naming, Outcome, Trial};
use crate::configuration::{
    Created, IdentityRules, Latest, OneOrMany, Parse, PullRequestSha, Scheme, TagRule,
};
use crate::event::Event;
use crate::identity::On;

/// Fields that tags are made of, the more telling first where two have the same value.
const FIELDS: [&str; 21] = [
    "{version}",
    "{tag|clean}",
    "{branch|clean}",
    "{branch|slug}",
    "{sha:long}",
    "{sha}",
    "{date:%Y%m%d-%H%M%S}",
    "{date:%Y%m%dT%H%M%S}",
    "{date:%Y%m%d%H%M%S}",
    "{date:%Y%m%d%H%M}",
    "{date:%Y%m%d}",
    "{date:%Y-%m-%d}",
    "{date:%Y.%m.%d}",
    "{date:%y%m%d}",
    "{date:%H%M%S}",
    "{run}",
    "{pr}",
    "{major}",
    "{minor}",
    "{patch}",
    "{date:%Y}",
];

/// A kind of event that gets a rule of its own.
struct Class {
    rule: TagRule,
    trials: Vec<usize>,
}

/// Finds rules that agree with `expected` in every trial.
///
/// # Errors
/// Why there are none.
pub(super) fn rules(
    service: &FoundService,
    found: &Found,
    expected: &[Outcome],
) -> Result<IdentityRules, String> {
    let (naming, trials) = (&service.naming, found.trials.as_slice());
    if let Some(phrase) = naming.tags.iter().chain(&naming.flavor).find(|phrase| phrase.unknown().is_some()) {
        return Err(format!("`{}` depends on what only a run knows", phrase.source()));
    }
    let mut why = None;
    for (grain, base) in candidates(naming, trials, expected) {
        let (service, branches) = (service.name.as_str(), found.branches.as_slice());
        let search = Search { service, naming, trials, branches, expected, grain, base };
        match search.rules() {
            Ok(rules) => return Ok(rules),
            Err(reason) if grain == Grain::Fine => why = why.or(Some(reason)),
            Err(_) => {}
        }
    }
    Err(why.unwrap_or_default())
}

/// How finely events are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grain {
    /// By kind, and by the branches that the file names.
    Coarse,
    /// Also by folders of branches and by what tags start with.
    Fine,
}

/// Returns the settings to try, those that are nearest to the defaults first.
fn candidates(naming: &Naming, trials: &[Trial], expected: &[Outcome]) -> Vec<(Grain, IdentityRules)> {
    let moves_with_tags = trials.iter().zip(expected).any(|(trial, outcome)| {
        trial.event.tag().is_some()
            && matches!(outcome, Outcome::Tags(tags) if tags.iter().any(|tag| tag == "latest"))
    });
    let latest = if moves_with_tags { [Latest::Auto, Latest::Never] } else { [Latest::Never, Latest::Auto] };
    let mut candidates = Vec::new();
    for grain in [Grain::Coarse, Grain::Fine] {
        for created in [Created::Commit, Created::Now] {
            for latest in latest {
                for pr_sha in [PullRequestSha::Head, PullRequestSha::Merge] {
                    let short_sha = naming.short_sha.unwrap_or(7);
                    let rules = IdentityRules {
                        created,
                        latest,
                        pr_sha,
                        short_sha,
                        tag: Vec::new(),
                        ..IdentityRules::default()
                    };
                    candidates.push((grain, rules));
                }
            }
        }
    }
    candidates
}

struct Search<'a> {
    service: &'a str,
    naming: &'a Naming,
    trials: &'a [Trial],
    branches: &'a [String],
    expected: &'a [Outcome],
    grain: Grain,
    base: IdentityRules,
}

impl Search<'_> {
    fn rules(&self) -> Result<IdentityRules, String> {
        let mut rules = self.base.clone();
        for class in self.classes() {
            let mut rule = class.rule.clone();
            rule.tags = self.templates(&class)?.iter().filter_map(|template| template.parse().ok()).collect();
            rules.tag.push(rule);
        }
        // A rule that gives nothing is there to keep its events from the rules after it, where it must.
        let mut without_empty = rules.clone();
        without_empty.tag.retain(|rule| !rule.tags.is_empty());
        if self.differences(&without_empty).is_empty() {
            return Ok(self.fewest(without_empty));
        }
        match self.differences(&rules).first() {
            None => Ok(self.fewest(rules)),
            Some(first) => Err(format!(
                "for a {} rules by kind of event give {}, and it gives {}",
                first.trial,
                listed(&first.found),
                listed(&first.expected)
            )),
        }
    }

    fn differences(&self, rules: &IdentityRules) -> Vec<super::Difference> {
        let found = |at: usize| Outcome::Tags(tags_of_rules(rules, self.service, &self.trials[at]));
        differences(self.trials, self.expected, found)
    }

    /// Leaves out every rule that the others make superfluous.
    fn fewest(&self, mut rules: IdentityRules) -> IdentityRules {
        let mut at = 0;
        while at < rules.tag.len() {
            let mut fewer = rules.clone();
            fewer.tag.remove(at);
            if self.differences(&fewer).is_empty() {
                rules = fewer;
            } else {
                at += 1;
            }
        }
        rules
    }

    /// Returns the kinds of events, each with the trials that no earlier one is for.
    fn classes(&self) -> Vec<Class> {
        let mut classes: Vec<Class> = skeletons(self.trials, self.branches, self.grain)
            .into_iter()
            .map(|rule| Class { rule, trials: Vec::new() })
            .collect();
        // Each rule gives its own number, which shows which one is for a trial.
        let mut numbered = IdentityRules { latest: Latest::Never, ..self.base.clone() };
        numbered.tag = classes.iter().map(|class| class.rule.clone()).collect();
        for (number, rule) in numbered.tag.iter_mut().enumerate() {
            rule.tags = vec![format!("rule-{number}").parse().expect("a literal is a template")];
        }
        for (at, trial) in self.trials.iter().enumerate() {
            let tags = tags_of_rules(&numbered, self.service, trial);
            let number = tags.first().and_then(|tag| tag.strip_prefix("rule-")?.parse::<usize>().ok());
            if let (Some(number), Outcome::Tags(_)) = (number, &self.expected[at]) {
                classes[number].trials.push(at);
            }
        }
        classes.retain(|class| !class.trials.is_empty());
        classes
    }

    fn templates(&self, class: &Class) -> Result<Vec<String>, String> {
        let mut templates = Vec::new();
        for entry in &self.naming.tags {
            let given: Vec<(usize, Option<String>)> = class
                .trials
                .iter()
                .map(|at| (*at, outcome_of_entry(self.naming, entry, self.trials, *at)))
                .collect();
            let name = || format!("`{}` on {}", entry.source(), class.rule.name());
            let template = self.template(class, &given).map_err(|reason| format!("{} {reason}", name()))?;
            templates.extend(template.filter(|template| !templates.contains(template)));
        }
        let own = |tag: &&String| self.base.latest == Latest::Never || tag.as_str() != "latest";
        for tag in self.extra(class).iter().filter(own).map(|tag| escaped(tag)) {
            if !templates.contains(&tag) {
                templates.push(tag);
            }
        }
        Ok(templates)
    }

    /// Returns the tags that every trial of a class has and no entry gives: `latest`, with what a flavor
    /// puts around it.
    fn extra(&self, class: &Class) -> Vec<String> {
        let extra = |at: &usize| -> BTreeSet<String> {
            let Outcome::Tags(tags) = &self.expected[*at] else { return BTreeSet::new() };
            let given: BTreeSet<String> = (self.naming.tags.iter())
                .filter_map(|entry| outcome_of_entry(self.naming, entry, self.trials, *at))
                .collect();
            tags.iter().filter(|tag| !given.contains(*tag)).cloned().collect()
        };
        let mut sets = class.trials.iter().map(extra);
        let first = sets.next().unwrap_or_default();
        sets.fold(first, |all, set| all.intersection(&set).cloned().collect()).into_iter().collect()
    }

    /// Returns the template of what an entry gives in the trials of a class; nothing where it gives nothing.
    fn template(&self, class: &Class, given: &[(usize, Option<String>)]) -> Result<Option<String>, String> {
        // What pre-releases get shows in the replay: the neighbour gives them one tag for all patterns.
        let is_release = |at: usize| !is_prerelease(&self.trials[at].event);
        let some: Vec<(usize, &String)> = given
            .iter()
            .filter_map(|(at, tag)| Some((*at, tag.as_ref()?)))
            .filter(|(at, _)| is_release(*at))
            .collect();
        let Some((first, output)) = some.first().copied() else {
            let only = given.iter().find_map(|(at, tag)| Some((*at, tag.as_ref()?)));
            return Ok(only.and_then(|(at, output)| self.abstracted(class, at, output)));
        };
        if let Some((at, _)) = given.iter().find(|(at, tag)| tag.is_none() && is_release(*at)) {
            return Err(format!(
                "applies to a {} and not to a {}",
                self.trials[first].title, self.trials[*at].title
            ));
        }
        if some.iter().all(|(_, tag)| *tag == output) {
            // A name's own field reads better, and lets a more general rule stand for this one.
            let names = ["{branch|clean}", "{tag|clean}"];
            let name = names.into_iter().find(|name| self.gives(class, name, &some));
            return Ok(Some(name.map_or_else(|| escaped(output), str::to_owned)));
        }
        let template = self.abstracted(class, first, output);
        let Some(template) = template.filter(|template| self.gives(class, template, &some)) else {
            return Err(format!("gives {output:?} for a {}, which no field is", self.trials[first].title));
        };
        Ok(Some(template))
    }

    /// Replaces, from the left, the longest value of a field by that field.
    fn abstracted(&self, class: &Class, at: usize, output: &str) -> Option<String> {
        let mut values: Vec<(String, &str)> =
            FIELDS.iter().filter_map(|field| Some((self.rendered(class, field, at)?, *field))).collect();
        values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        let (mut template, mut rest) = (String::new(), output);
        while let Some(character) = rest.chars().next() {
            match values.iter().find(|(value, _)| rest.starts_with(value.as_str())) {
                Some((value, field)) => {
                    template.push_str(field);
                    rest = &rest[value.len()..];
                }
                None => {
                    template.push_str(&escaped(&character.to_string()));
                    rest = &rest[character.len_utf8()..];
                }
            }
        }
        (template.contains('{')).then_some(template)
    }

    fn gives(&self, class: &Class, template: &str, given: &[(usize, &String)]) -> bool {
        given.iter().all(|(at, tag)| self.rendered(class, template, *at).as_ref() == Some(*tag))
    }

    /// Returns the tag that a template alone gives in a trial.
    fn rendered(&self, class: &Class, template: &str, at: usize) -> Option<String> {
        let rule = TagRule { tags: vec![template.parse().ok()?], ..class.rule.clone() };
        let rules = IdentityRules { tag: vec![rule], latest: Latest::Never, ..self.base.clone() };
        tags_of_rules(&rules, self.service, &self.trials[at]).into_iter().next()
    }
}

/// Returns the rules that may be needed, the more special first, with no tags yet.
fn skeletons(trials: &[Trial], named: &[String], grain: Grain) -> Vec<TagRule> {
    let finely = |_: &&Trial| grain == Grain::Fine;
    let rule = |on: String, parse: Option<Scheme>| {
        let on: On = on.parse().ok()?;
        let parse = parse.map(Parse::from);
        Some(TagRule { on: OneOrMany(vec![on]), tags: Vec::new(), immutable: Vec::new(), parse })
    };
    let words = ["pull_request", "schedule", "merge_group", "workflow_run", "default-branch"];
    let mut skeletons: Vec<Option<TagRule>> = words.iter().map(|on| rule((*on).to_owned(), None)).collect();
    // A name with these in it would be a pattern.
    let is_plain = |name: &str| !name.contains(['*', '?', '[', '\\']);
    let exact = named.iter().filter(|branch| is_plain(branch));
    skeletons.extend(exact.map(|branch| rule(format!("branch:{branch}"), None)));
    let branches: BTreeSet<&str> =
        trials.iter().filter(finely).filter_map(|trial| trial.event.branch()).collect();
    let folders: BTreeSet<&str> =
        branches.iter().filter_map(|branch| branch.split_once('/')).map(|(folder, _)| folder).collect();
    let folders = folders.into_iter().filter(|folder| is_plain(folder));
    skeletons.extend(folders.map(|folder| rule(format!("branch:{folder}/**"), None)));
    skeletons.push(rule("branch:**".to_owned(), None));
    let tags = trials.iter().filter(finely).filter_map(|trial| trial.event.tag());
    let prefixes: BTreeSet<&str> = tags.filter_map(prefix).filter(|prefix| is_plain(prefix)).collect();
    // Versions with a dash in them are pre-releases.
    skeletons.push(rule("tag:**-**".to_owned(), Some(Scheme::Semver)));
    for parse in [Some(Scheme::Semver), None] {
        skeletons.extend(prefixes.iter().rev().map(|prefix| rule(format!("tag:{prefix}**"), parse)));
    }
    for parse in [Some(Scheme::Semver), Some(Scheme::Pep440), None] {
        skeletons.push(rule("tag:**".to_owned(), parse));
    }
    skeletons.push(rule("dispatch".to_owned(), None));
    skeletons.into_iter().flatten().collect()
}

/// Returns what a tag starts with before its numbers, with the `0.` of versions that promise nothing.
fn prefix(tag: &str) -> Option<&str> {
    let digits = tag.find(|c: char| c.is_ascii_digit())?;
    let zero = tag[digits..].starts_with("0.").then_some(digits + 2);
    Some(&tag[..zero.unwrap_or(digits)]).filter(|prefix| !prefix.is_empty())
}

fn is_prerelease(event: &Event) -> bool {
    let version = event.tag().map(|tag| semver::Version::parse(tag.strip_prefix('v').unwrap_or(tag)));
    matches!(version, Some(Ok(version)) if !version.pre.is_empty())
}

fn escaped(literal: &str) -> String {
    literal.replace('{', "{{").replace('}', "}}")
}

fn listed(tags: &[String]) -> String {
    if tags.is_empty() { "no tag".to_owned() } else { tags.join(", ") }
}
