//! Events that a workflow reacts to, each as the host would describe it: the context for expressions,
//! the event as we read it, and as docker/metadata-action sees it.
//!
//! Every kind comes at least twice, with another commit, number, run and night, so that nothing that
//! changes from run to run looks like a constant.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use pipeline::event::Event;
use pipeline::identity::docker::{Context, RepositoryFacts, ShortSha};
use pipeline::moving_in::Trial;
use serde_json::{Value, json};

use super::Surroundings;
use super::filter::{Pushed, Triggers, example, matches};
use crate::Environment;
use crate::github::Host;
use crate::github::event::Step;

/// The most trials; a file that names more branches is tried with the first ones.
const MAX_TRIALS: usize = 400;

/// An event with the context that expressions see.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) trial: Trial,
    pub(super) github: Value,
}

/// Branches and tags that a file names, in filters and expressions.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) branches: BTreeSet<String>,
    pub(super) tags: BTreeSet<String>,
}

/// Branches of the sorts that people have.
const BRANCHES: [&str; 7] = [
    "feature/Login_Form.v2",
    "feature/dark-mode",
    "fix/Crash#7",
    "fix/typo",
    "dependabot/npm_and_yarn/left-pad-1.3.0",
    "renovate",
    "Hotfix_2",
];

/// Tags of the sorts that people have: versions, odd ones, others.
const TAGS: [&str; 12] = [
    "v13.27.58",
    "v21.34.60",
    "v0.47.19",
    "v0.52.31",
    "v19.0.0-rc.2",
    "v0.61.0-beta.3",
    "14.28.59",
    "22.35.71",
    "nightly_2026",
    "Candidate.7",
    "team/v15.26.37",
    "v77",
];

struct Trials<'a> {
    surroundings: &'a Surroundings,
    default: &'a str,
    count: usize,
    tried: Vec<Tried>,
}

/// Returns the trials of a workflow. One that is only called by others is tried with the events of
/// any caller.
pub(super) fn trials(triggers: &Triggers<'_>, named: &Named, surroundings: &Surroundings) -> Vec<Tried> {
    let default = surroundings.default_branch.as_str();
    let mut trials = Trials { surroundings, default, count: 0, tried: Vec::new() };
    let is_called =
        triggers.names().iter().all(|name| matches!(*name, "workflow_call" | "workflow_dispatch"))
            && triggers.has("workflow_call");
    for _ in 0..2 {
        trials.pushes(triggers, named, is_called);
        trials.pull_requests(triggers, named, is_called);
        trials.others(triggers, is_called);
    }
    trials.tried
}

impl Trials<'_> {
    fn pushes(&mut self, triggers: &Triggers<'_>, named: &Named, is_called: bool) {
        let patterns = triggers.patterns("push", "branches");
        let branches = [self.default.to_owned()].into_iter().chain(named.branches.iter().cloned());
        let branches = branches.chain(BRANCHES.map(str::to_owned)).chain(patterns.into_iter().map(example));
        for branch in unique(branches) {
            if is_called || triggers.push(Pushed::Branch, &branch) {
                let reference = format!("refs/heads/{branch}");
                let title = format!("push to {branch}");
                self.add(&title, "push", &reference, json!({ "ref": reference, "base_ref": null }));
            }
        }
        let patterns = triggers.patterns("push", "tags");
        let tags = TAGS.map(str::to_owned).into_iter().chain(named.tags.iter().cloned());
        for tag in unique(tags.chain(patterns.into_iter().flat_map(versions))) {
            if is_called || triggers.push(Pushed::Tag, &tag) {
                let reference = format!("refs/tags/{tag}");
                self.add(
                    &format!("push of tag {tag}"),
                    "push",
                    &reference,
                    json!({ "ref": reference, "base_ref": null }),
                );
            }
        }
    }

    fn pull_requests(&mut self, triggers: &Triggers<'_>, named: &Named, is_called: bool) {
        let bases =
            unique([self.default.to_owned()].into_iter().chain(named.branches.iter().take(3).cloned()));
        for event in ["pull_request", "pull_request_target"] {
            for base in &bases {
                let starts = triggers.pull_request(event, base) || (is_called && event == "pull_request");
                for (whose, repository) in
                    [("", self.surroundings.repository.clone()), (" of a fork", "mallory/copy".to_owned())]
                {
                    if starts {
                        self.pull_request(event, base, whose, &repository);
                    }
                }
            }
        }
    }

    fn pull_request(&mut self, event: &str, base: &str, whose: &str, repository: &str) {
        let number = 4200 + self.count;
        let head = sha(self.count + 5000);
        let payload = json!({ "number": number, "action": "opened", "pull_request": {
            "number": number, "draft": false, "merged": false, "labels": [],
            "head": { "sha": head, "ref": "feature/Login_Form.v2", "repo": { "full_name": repository, "fork": !whose.is_empty() } },
            "base": { "ref": base, "repo": { "full_name": self.surroundings.repository } }
        } });
        let reference = if event == "pull_request" {
            format!("refs/pull/{number}/merge")
        } else {
            format!("refs/heads/{base}")
        };
        self.add(&format!("{event} into {base}{whose}"), event, &reference, payload);
    }

    fn others(&mut self, triggers: &Triggers<'_>, is_called: bool) {
        let default = format!("refs/heads/{}", self.default);
        let crons = triggers.get("schedule").map(pipeline::yaml::Node::items).unwrap_or_default();
        let crons: Vec<&str> = crons.iter().filter_map(|item| item.get("cron")?.text()).collect();
        if triggers.has("schedule") || is_called {
            for cron in if crons.is_empty() { vec!["0 4 * * *"] } else { crons } {
                self.add(&format!("schedule {cron:?}"), "schedule", &default, json!({ "schedule": cron }));
            }
        }
        for event in ["workflow_dispatch", "repository_dispatch"] {
            if triggers.has(event) {
                self.add(&format!("{event} on {}", self.default), event, &default, json!({ "ref": default }));
            }
        }
        if triggers.has("workflow_dispatch") {
            let reference = "refs/heads/feature/dark-mode";
            self.add(
                "workflow_dispatch on feature/dark-mode",
                "workflow_dispatch",
                reference,
                json!({ "ref": reference }),
            );
            for tag in ["v13.27.58", "v21.34.60"] {
                let (title, reference) = (format!("workflow_dispatch on {tag}"), format!("refs/tags/{tag}"));
                self.add(&title, "workflow_dispatch", &reference, json!({ "ref": reference }));
            }
        }
        if triggers.has("merge_group") {
            let base = sha(self.count + 8000);
            let reference =
                format!("refs/heads/gh-readonly-queue/{}/pr-{}-{base}", self.default, 4200 + self.count);
            let group = json!({ "head_ref": reference, "head_sha": sha(self.count), "base_ref": default });
            self.add("merge_group", "merge_group", &reference, json!({ "merge_group": group }));
        }
        let releases =
            [("v13.27.58", false), ("v21.34.60", false), ("v0.47.19", false), ("v19.0.0-rc.2", true)];
        for (tag, prerelease) in releases {
            let acts = ["published", "created", "released", "edited", "prereleased"]
                .iter()
                .any(|action| triggers.acts("release", action));
            if acts {
                let release = json!({ "tag_name": tag, "prerelease": prerelease, "draft": false, "target_commitish": self.default });
                let payload = json!({ "action": "published", "release": release });
                self.add(&format!("release of {tag}"), "release", &format!("refs/tags/{tag}"), payload);
            }
        }
        let known = [
            "push",
            "pull_request",
            "pull_request_target",
            "schedule",
            "workflow_dispatch",
            "repository_dispatch",
            "merge_group",
            "release",
            "workflow_call",
            "delete",
        ];
        for event in triggers.names().into_iter().filter(|name| !known.contains(name)) {
            let payload = match event {
                "workflow_run" => json!({ "workflow_run": {
                    "name": "CI", "event": "push", "conclusion": "success", "head_branch": self.default, "head_sha": sha(self.count),
                    "head_repository": { "full_name": self.surroundings.repository }, "pull_requests": []
                } }),
                _ => json!({}),
            };
            self.add(event, event, &default, payload);
        }
    }

    fn add(&mut self, title: &str, event: &str, reference: &str, mut payload: Value) {
        if self.tried.len() >= MAX_TRIALS {
            return;
        }
        let number = self.count;
        self.count += 1;
        let now = self.surroundings.now + SignedDuration::from_secs(90_061 * number as i64);
        let committed = now - SignedDuration::from_hours(31 + number as i64);
        let commit = sha(number);
        let repository = json!({
            "full_name": self.surroundings.repository, "name": name_of(&self.surroundings.repository),
            "default_branch": self.default, "html_url": format!("https://github.com/{}", self.surroundings.repository)
        });
        let heads = payload.pointer("/pull_request/head/sha").cloned();
        let listed = [Some(Value::from(commit.as_str())), heads].into_iter().flatten();
        payload["repository"] = repository;
        payload["commits"] = listed
            .map(|id| json!({ "id": id, "timestamp": committed.to_string(), "message": "change" }))
            .collect();
        payload["after"] = json!(commit);
        let github = self.context(event, reference, &commit, number, &payload);
        let Some(happened) = self.event(&github, &payload) else { return };
        let context = self.seen_by_neighbour(event, reference, &commit, &payload, (committed, now));
        let trial = Trial { title: title.to_owned(), event: happened, context };
        self.tried.push(Tried { trial, github });
    }

    fn context(&self, event: &str, reference: &str, commit: &str, number: usize, payload: &Value) -> Value {
        let name = reference.splitn(3, '/').nth(2).unwrap_or_default();
        let kind = if reference.starts_with("refs/tags/") { "tag" } else { "branch" };
        let owner = self.surroundings.repository.split('/').next().unwrap_or_default();
        let of_pull_request = |place: &str| payload.pointer(place).cloned().unwrap_or(json!(""));
        json!({
            "event_name": event, "ref": reference, "ref_name": name, "ref_type": kind, "sha": commit, "event": payload,
            "head_ref": of_pull_request("/pull_request/head/ref"), "base_ref": of_pull_request("/pull_request/base/ref"),
            "repository": self.surroundings.repository, "repository_owner": owner, "actor": "octocat",
            "triggering_actor": "octocat", "run_id": (7_300_000 + 37 * number).to_string(), "run_number": (900 + number).to_string(),
            "run_attempt": "1", "server_url": "https://github.com", "api_url": "https://api.github.com", "workflow": "build",
            "ref_protected": false,
        })
    }

    fn event(&self, github: &Value, payload: &Value) -> Option<Event> {
        let known = ["event_name", "ref", "sha", "repository", "run_id", "actor", "server_url"];
        let environment: Environment = known
            .iter()
            .filter_map(|name| {
                Some((format!("GITHUB_{}", name.to_uppercase()), github[*name].as_str()?.to_owned()))
            })
            .collect();
        let step = Step::new(Host::GitHub, &environment, payload.clone(), Path::new("/nowhere"));
        step.and_then(Step::event).ok().map(|(event, _)| event)
    }

    fn seen_by_neighbour(
        &self,
        event: &str,
        reference: &str,
        commit: &str,
        payload: &Value,
        (committed, now): (Timestamp, Timestamp),
    ) -> Context {
        let text = |place: &str| payload.pointer(place).and_then(Value::as_str).map(str::to_owned);
        let reference = match (event, payload.pointer("/pull_request/number")) {
            ("pull_request_target", Some(number)) => format!("refs/pull/{number}/merge"),
            _ => reference.to_owned(),
        };
        Context {
            event_name: event.to_owned(),
            reference,
            sha: commit.to_owned(),
            base_ref: text("/base_ref"),
            pull_request_base: text("/pull_request/base/ref"),
            default_branch: Some(self.default.to_owned()),
            repository: RepositoryFacts {
                name: Some(name_of(&self.surroundings.repository).to_owned()),
                default_branch: Some(self.default.to_owned()),
                ..RepositoryFacts::default()
            },
            commit_date: Some(committed),
            now,
            created: None,
            short_sha: ShortSha::default(),
            annotation_levels: vec!["manifest".to_owned()],
        }
    }
}

/// Returns names that a pattern for tags lets in: versions where it has a `*`.
fn versions(pattern: &str) -> Vec<String> {
    let numbers = ["13.27.58", "21.34.60", "0.47.19", "19.0.0-rc.2"];
    let stars = |number: &str| pattern.replacen("**", number, 1).replacen('*', number, 1).replace('*', "7");
    let names = numbers.iter().map(|number| stars(number)).filter(|name| matches(&[pattern], name));
    names.chain([example(pattern)]).collect()
}

fn name_of(repository: &str) -> &str {
    repository.rsplit('/').next().unwrap_or(repository)
}

fn unique(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !name.is_empty() && seen.insert(name.clone())).collect()
}

/// Returns a commit id that no other number has, with letters and digits in its first places.
fn sha(number: usize) -> String {
    let mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let digits = format!("{mixed:016x}");
    format!("c{digits}d{digits}e{}", &digits[..5])
}
