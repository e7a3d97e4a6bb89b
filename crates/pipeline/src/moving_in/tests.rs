//! Namings as files have them, and what comes of them.

use proptest::prelude::*;

use super::*;
use crate::event::PullRequest;
use crate::event::tests::event;
use crate::identity::docker::{RepositoryFacts, ShortSha};

fn commit(number: usize) -> String {
    format!("{number:02x}c0ffee{:032x}", number * 7 + 0xabc_def)
}

/// Returns a trial with a commit, a night and numbers of its own.
fn trial(number: usize, kind: Kind, name: &str, reference: &str) -> Trial {
    let mut event = event(kind);
    event.revision = commit(number).parse().unwrap();
    event.committed += jiff::SignedDuration::from_hours(29 * number as i64);
    let now = event.committed + jiff::SignedDuration::from_hours(31);
    let context = Context {
        event_name: name.to_owned(),
        reference: reference.to_owned(),
        sha: event.revision.to_string(),
        base_ref: None,
        pull_request_base: None,
        default_branch: Some("main".to_owned()),
        repository: RepositoryFacts { default_branch: Some("main".to_owned()), ..RepositoryFacts::default() },
        commit_date: Some(event.committed),
        now,
        created: None,
        short_sha: ShortSha::default(),
        annotation_levels: Vec::new(),
    };
    Trial { title: format!("{name} of {reference}"), event, context }
}

fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for round in 0..2 {
        let branches = ["main", "feature/Login_Form.v2", "fix/typo", "renovate"];
        for branch in branches {
            let kind = Kind::Branch { branch: branch.to_owned() };
            trials.push(trial(trials.len(), kind, "push", &format!("refs/heads/{branch}")));
        }
        for tag in ["v13.27.58", "v21.34.60", "v0.47.19", "v19.0.0-rc.2", "Candidate.7"] {
            trials.push(trial(
                trials.len(),
                Kind::Tag { tag: tag.to_owned() },
                "push",
                &format!("refs/tags/{tag}"),
            ));
        }
        let number = 4200 + round;
        let pull_request = PullRequest {
            number,
            head_sha: None,
            merge_sha: None,
            head_ref: Some("fix/typo".to_owned()),
            base_ref: Some("main".to_owned()),
            fork: round == 1,
        };
        let reference = format!("refs/pull/{number}/merge");
        trials.push(trial(trials.len(), Kind::PullRequest(pull_request), "pull_request", &reference));
        let kind = Kind::Schedule { branch: Some("main".to_owned()) };
        trials.push(trial(trials.len(), kind, "schedule", "refs/heads/main"));
    }
    trials
}

fn chosen(tags: &[&str], flavor: &[&str]) -> Chosen {
    let phrases = |texts: &[&str]| texts.iter().map(|text| Phrase::plain(1, text)).collect();
    let naming = Naming { tags: phrases(tags), flavor: phrases(flavor), ..Naming::default() };
    let service = FoundService { name: "api".to_owned(), naming, ..FoundService::default() };
    choose(&service, &Found { trials: trials(), ..Found::default() })
}

fn shown(chosen: &Chosen) -> String {
    let rules = chosen.rules.tag.iter().map(|rule| {
        let tags: Vec<&str> = rule.tags.iter().map(|template| template.as_str()).collect();
        format!("{}: {}", rule.name(), tags.join(" "))
    });
    let lists = [&chosen.rules.tags, &chosen.rules.flavor].into_iter().flatten();
    let strings = lists.map(|list| format!("[{}]", list.join(" ")));
    rules.chain(strings).collect::<Vec<_>>().join("; ")
}

#[track_caller]
fn check(tags: &[&str], flavor: &[&str], expected: &str) {
    let chosen = chosen(tags, flavor);
    assert_eq!(shown(&chosen), expected, "{:?}", chosen.kept_because);
    assert_eq!(chosen.differences, []);
    assert_eq!(chosen.kept_because.is_some(), chosen.rules.tags.is_some());
}

#[test]
fn entries_become_rules_by_kind_of_event() {
    check(
        &[
            "type=ref,event=branch",
            "type=ref,event=pr",
            "type=semver,pattern={{version}}",
            "type=semver,pattern={{major}}.{{minor}}",
        ],
        &[],
        "pull_request: pr-{pr}; schedule: {branch|clean}; branch:**: {branch|clean}; tag:**: {version} {major}.{minor}",
    );
    check(
        &["type=edge", "type=sha,format=long"],
        &["latest=false"],
        "pull_request: sha-{sha:long}; schedule: edge sha-{sha:long}; default-branch: edge sha-{sha:long}; branch:**: sha-{sha:long}; tag:**: sha-{sha:long}",
    );
    check(&["type=schedule,pattern={{date 'YYYYMMDD'}}"], &[], "schedule: {date:%Y%m%d}");
    check(
        &["type=raw,value=build"],
        &["prefix=a-"],
        "pull_request: a-build; schedule: a-build; branch:**: a-build; tag:**: a-build",
    );
}

#[test]
fn what_rules_cannot_say_is_kept_as_it_was() {
    // The date of a schedule is the night's, for rules by kind of event.
    let dated = "type=raw,value={{commit_date 'YYYYMMDD'}}";
    check(&[dated], &[], &format!("[{dated}]"));
    check(&[r"type=match,pattern=v(\d+)-?\w*"], &[], r"[type=match,pattern=v(\d+)-?\w*]");
    let chosen = chosen(&["type=raw,value={{branch}}-x"], &["prefix=p-,onlatest=true"]);
    assert_eq!(chosen.differences, []);
}

/// A part that is computed, with its value in each trial.
fn computed(source: &str, value: impl Fn(&Trial) -> Result<String, String>) -> Piece {
    Piece::Computed { source: source.to_owned(), values: trials().iter().map(value).collect() }
}

fn chosen_of(pieces: Vec<Piece>) -> Chosen {
    let naming = Naming { tags: vec![Phrase { line: 7, pieces }], ..Naming::default() };
    let service = FoundService { name: "api".to_owned(), naming, ..FoundService::default() };
    choose(&service, &Found { trials: trials(), ..Found::default() })
}

#[test]
fn what_is_computed_is_a_field_an_expression_or_not_taken_over() {
    let text = |text: &str| Piece::Text(text.to_owned());
    let sha = computed("github.sha", |trial| Ok(trial.context.sha.clone()));
    let of_main = computed("github.ref == 'refs/heads/main'", |trial| {
        Ok((trial.context.reference == "refs/heads/main").to_string())
    });
    let chosen = chosen_of(vec![text("type=raw,value="), sha, text(",enable="), of_main]);
    assert_eq!(shown(&chosen), "schedule: {sha:long}; default-branch: {sha:long}");
    let number = computed("github.run_number", |trial| Ok(trial.context.sha[..2].to_owned()));
    let chosen = chosen_of(vec![text("type=raw,value=build-"), number]);
    assert!(chosen.kept_because.as_ref().unwrap().contains("which no field is"), "{chosen:?}");
    assert_eq!(
        (chosen.not_taken[0].line, chosen.not_taken[0].what.as_str()),
        (7, "`type=raw,value=build-${{ github.run_number }}`")
    );
    let unknown = computed("vars.X", |_| Err("vars.X".to_owned()));
    let chosen = chosen_of(vec![text("type=raw,value="), unknown]);
    assert_eq!(chosen.not_taken[0].reason, "vars.X is only known in a run");
}

#[test]
fn the_replay_notices_rules_that_differ() {
    let trials = trials();
    let expected: Vec<Outcome> = trials.iter().map(|_| Outcome::Tags(vec!["x".to_owned()])).collect();
    let found = |at: usize| Outcome::Tags(if at == 3 { Vec::new() } else { vec!["x".to_owned()] });
    let differences = replay::differences(&trials, &expected, found);
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].trial, "push of refs/heads/renovate");
}

#[test]
fn pushing_goes_by_kind() {
    let trials = trials();
    let not_pull_requests: Vec<bool> =
        trials.iter().map(|trial| trial.context.event_name != "pull_request").collect();
    let (events, mixed) = push_events(&trials, &not_pull_requests);
    assert!(!events.contains(&PushEvent::PullRequest) && events.len() == 5);
    assert_eq!(mixed, []);
    let main_only: Vec<bool> =
        trials.iter().map(|trial| trial.context.reference == "refs/heads/main").collect();
    assert_eq!(push_events(&trials, &main_only).1, [PushEvent::Push]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the entries are, rules that are given agree in every trial.
    #[test]
    fn rules_that_are_given_agree(
        entries in prop::collection::vec(r"type=(raw|ref|sha|semver|edge|schedule|x)(,(value|pattern|event|prefix|enable)=(\{\{(version|branch|sha|major)\}\}|main|branch|tag|pr|true|[a-z-]{0,4}))?", 1..4)
    ) {
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        let chosen = chosen(&entries, &[]);
        if chosen.kept_because.is_none() {
            let trials = trials();
            for (at, trial) in trials.iter().enumerate() {
                let naming = Naming { tags: entries.iter().map(|text| Phrase::plain(1, text)).collect(), ..Naming::default() };
                let Outcome::Tags(mut expected) = outcome(&naming, &trials, at) else { continue };
                let mut found = replay::tags_of_rules(&chosen.rules, "api", trial);
                expected.sort();
                found.sort();
                prop_assert_eq!(&found, &expected, "{:?} {}", entries, trial.title);
            }
        }
    }
}
