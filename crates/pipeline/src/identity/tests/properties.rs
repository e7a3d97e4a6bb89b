//! What holds for every event and every configuration.

use proptest::prelude::*;

use super::*;
use crate::configuration::{Latest, OneOrMany, Parse, Scheme, TagRule};
use crate::event::GitRef;
use crate::identity::template::Template;

prop_compose! {
    fn any_event()(
        kind in 0..9,
        name in "(\\PC|\n|feature/|v1\\.2\\.3|-){0,200}",
        number in any::<u64>(),
        sha in "[0-9a-f]{40}",
        fork in any::<bool>(),
        text in any::<String>(),
    ) -> Event {
        let kind = match kind {
            0 => Kind::Branch { branch: name },
            1 => Kind::Tag { tag: name },
            2 => Kind::Schedule { branch: Some(name) },
            3 => Kind::Dispatch { on: Some(GitRef::Tag(name)) },
            4 => Kind::MergeGroup { number: Some(number), base_ref: name },
            5 => Kind::Release { tag: name, prerelease: fork },
            6 => Kind::Delete { on: GitRef::Branch(name) },
            7 => Kind::WorkflowRun {
                workflow: name.clone(), conclusion: None, on: Some(GitRef::Branch(name)), number: Some(number),
                proposed: fork, fork,
            },
            _ => Kind::PullRequest(PullRequest {
                number, fork, head_sha: None, merge_sha: None, head_ref: Some(name), base_ref: None,
            }),
        };
        let fields = [("text".to_owned(), serde_json::Value::from(text))].into();
        Event { revision: sha.parse().unwrap(), fields, ..event(kind) }
    }
}

fn any_template() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "{branch|slug}",
        "{branch}",
        "{sha}",
        "{sha|slug}",
        "{sha|trunc:5}",
        "{sha:long|hash:12}",
        "{event:text}",
        "{event:text|slug}",
        "{sha:long}",
        "{tag}",
        "{tag|lower}",
        "{pr}",
        "{version}",
        "{major}",
        "-",
        "x.",
        "{date:%Y%m%d}",
        "{branch|hash:8}",
        "{branch|slug|trunc:30}",
        "{service}",
        "{default}",
        "{match:name}",
        "{patch}",
    ]);
    prop::collection::vec(part, 1..6).prop_map(|parts| parts.concat())
}

fn any_parse() -> impl Strategy<Value = Option<Parse>> {
    let regex = "(?<name>[a-z]*)(?<version>.*)".parse().unwrap();
    prop::sample::select(vec![
        None,
        Some(Scheme::Semver.into()),
        Some(Scheme::Pep440.into()),
        Some(Scheme::Calver.into()),
        Some(Parse { regex: Some(regex), scheme: None }),
    ])
}

proptest! {
    #[test]
    fn tags_are_valid_short_and_different(
        event in any_event(), templates in prop::collection::vec(any_template(), 1..5), max in 16_usize..=128,
        parse in any_parse(), existing in prop::collection::vec("(api[/-])?v?[0-9]\\.[0-9]\\.[0-9](-rc)?|\\PC{0,9}", 0..4),
    ) {
        let templates: Vec<Template> = templates.iter().map(|text| text.parse().unwrap()).collect();
        let on = ["branch:**", "tag:**", "pull_request", "schedule", "dispatch", "merge_group", "release", "delete",
            "workflow_run"];
        let rule = TagRule {
            on: OneOrMany(on.iter().map(|on| on.parse().unwrap()).collect()),
            tags: templates, immutable: vec![], parse,
        };
        // What the rule does not take falls to one that takes everything.
        let fallback = TagRule { parse: None, ..rule.clone() };
        let rules = IdentityRules { tag: vec![rule, fallback], max_length: max, latest: Latest::Never, ..Default::default() };
        let existing: Vec<&str> = existing.iter().map(String::as_str).collect();
        let identity = named(&rules, &event, &existing);
        for planned in &identity.tags {
            let text = format!("registry.example/acme/api:{}", planned.tag);
            prop_assert_eq!(text.parse::<oci::Reference>().map(|parsed| parsed.to_string()), Ok(text));
            prop_assert!(planned.tag.as_str().len() <= max);
            prop_assert_eq!(identity.tags.iter().filter(|other| other.tag == planned.tag).count(), 1);
        }
        for explained in &identity.explained {
            prop_assert!(explained.tag.is_some() != explained.dropped.is_some());
        }
    }

    #[test]
    fn another_commit_gets_another_tag(
        event in any_event(), sha in "[0-9a-f]{40}", templates in prop::collection::vec(any_template(), 1..5),
        max in 16_usize..=128,
    ) {
        let templates: Vec<Template> = templates.iter().map(|text| text.parse().unwrap()).collect();
        let on = ["branch:**", "tag:**", "pull_request", "schedule", "dispatch", "merge_group", "workflow_run"];
        let on = OneOrMany(on.iter().map(|on| on.parse().unwrap()).collect());
        let own = TagRule { on, tags: templates, immutable: vec![], parse: None };
        let with_own = IdentityRules { tag: vec![own], max_length: max, latest: Latest::Never, ..Default::default() };
        let other = Event { revision: sha.parse().unwrap(), ..event.clone() };
        prop_assume!(event.revision.short(7) != other.revision.short(7));
        for rules in [with_own, IdentityRules { latest: Latest::Never, ..Default::default() }] {
            let of_commit = |event: &Event| -> Vec<Tag> {
                let tags = named(&rules, event, &[]).tags.into_iter();
                tags.filter(|planned| planned.movement != Movement::Moving).map(|planned| planned.tag).collect()
            };
            let (one, two) = (of_commit(&event), of_commit(&other));
            prop_assert!(one.iter().all(|tag| !two.contains(tag)), "{:?} {:?}", one, two);
        }
    }
}
