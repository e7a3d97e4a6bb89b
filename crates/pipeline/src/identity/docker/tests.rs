//! What inputs give, as docker/metadata-action gives it; and what must hold whatever they are.

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Context, Engine, Inputs, MetadataError, RepositoryFacts, ShortSha, entries, git_reference};

const SHA: &str = "860c1904a1ce19322e91ac35af1ab07466440c37";

fn context(event: &str, reference: &str) -> Context {
    let now: Timestamp = "2024-06-28T14:30:22.123Z".parse().unwrap();
    Context {
        event_name: event.to_owned(),
        reference: reference.to_owned(),
        sha: SHA.to_owned(),
        base_ref: None,
        pull_request_base: None,
        default_branch: Some("main".to_owned()),
        repository: RepositoryFacts { default_branch: Some("main".to_owned()), ..RepositoryFacts::default() },
        commit_date: Some("2024-02-29T23:59:58Z".parse().unwrap()),
        now,
        created: None,
        short_sha: ShortSha::default(),
        annotation_levels: vec!["manifest".to_owned()],
    }
}

fn inputs(tags: &str, flavor: &str) -> Inputs {
    Inputs {
        images: vec!["user/app".to_owned()],
        tags: entries(tags).unwrap(),
        flavor: entries(flavor).unwrap(),
        ..Inputs::default()
    }
}

/// Returns the tags between blanks; an error as its message.
fn tags(event: &str, reference: &str, tags: &str, flavor: &str) -> String {
    match super::metadata(&inputs(tags, flavor), &context(event, reference)) {
        Ok(metadata) => metadata.tag_names().map(|tag| tag.as_str()).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check(reference: &str, given: &str, flavor: &str, expected: &str) {
    assert_eq!(tags("push", reference, given, flavor), expected, "{reference} {given:?} {flavor:?}");
}

const BRANCH: &str = "refs/heads/main";
const TAG: &str = "refs/tags/v1.2.3";

#[test]
fn every_type_of_tag() {
    check(BRANCH, "", "", "main");
    check(TAG, "", "", "v1.2.3 latest");
    check("refs/pull/42/merge", "", "", "pr-42");
    check("refs/pull/42/head", "", "", "pr-42-head");
    check("refs/heads/feat/a@b", "type=ref,event=branch", "", "feat-a-b");
    check(
        BRANCH,
        "type=edge\ntype=sha\ntype=sha,format=long,prefix=",
        "",
        &format!("edge sha-860c190 {SHA}"),
    );
    check(
        TAG,
        "type=semver,pattern={{version}}\ntype=semver,pattern={{major}}.{{minor}}",
        "",
        "1.2.3 1.2 latest",
    );
    check("refs/tags/v1.2.3-rc.1", "type=semver,pattern={{major}}", "", "1.2.3-rc.1");
    check("refs/tags/v1.2.3+b.5", "type=semver,pattern={{raw}}", "", "v1.2.3-b.5 latest");
    check("refs/tags/1.2.3-rc2", "type=pep440,pattern={{major}}", "", "1.2.3rc2");
    check("refs/tags/1.0+abc.5", "type=pep440,pattern={{version}}", "", "1.0-abc-5 latest");
    check("refs/tags/p1/v1.2.3", "type=match,\"pattern=/v(.*)/i\",group=1", "", "1.2.3 latest");
    check("refs/tags/app/v1.2.3", "type=semver,pattern={{version}},\"match=^app/(.*)$\"", "", "1.2.3 latest");
    check(BRANCH, "type=raw,value=x-{{branch}}-{{sha}}\ntype=raw,y,enable=false", "", "x-main-860c190");
    assert_eq!(tags("schedule", BRANCH, "", ""), "nightly main");
    assert_eq!(
        tags("schedule", BRANCH, "type=schedule,pattern=n-{{date 'YYYYMMDD'}}{{sha}}", ""),
        "n-20240628"
    );
}

#[test]
fn order_flavor_and_latest() {
    check(TAG, "type=raw,a,priority=2000\ntype=semver,pattern={{version}}", "", "a 1.2.3");
    check(TAG, "type=raw,a\ntype=ref,event=tag\ntype=raw,a", "", "v1.2.3 a latest");
    check(BRANCH, "type=raw,latest", "latest=true", "latest latest");
    check(BRANCH, "", "prefix=p-,onlatest=true\nsuffix=-s\nlatest=true", "p-main-s p-latest");
    check(BRANCH, "type=ref,event=branch,prefix=", "prefix=a=b", "main");
    check(BRANCH, "type=sha", "prefix=p-,suffix=-s", "sha-860c190-s");
    check(BRANCH, "type=raw,b,priority=x\ntype=raw,c\ntype=raw,a,priority=900", "", "b a c");
}

#[test]
fn dates_in_zones() {
    for (pattern, expected) in [
        ("YYYYMMDD-HHmmss' tz='Asia/Tokyo", "20240628-233022"),
        ("YYYYMMDD' tz='asia/tokyo", "20240628"),
        ("YYYYMMDDHH' tz='No/Where", "2024062814"),
        ("z Z' tz='America/New_York", "EDT--04-00"),
        ("GGGG[W]WW-E gggg[w]ww-e DDDo dddd Do MMM", "2024W26-5-2024w26-5-180th-Friday-28th-Jun"),
        ("LL LT X x SSS", "June-28-2024-2-30-PM-1719585022-1719585022123-123"),
        ("ddddd \\M [M]", "Friday5-M-M"),
    ] {
        check(BRANCH, &format!("type=raw,\"value={{{{date '{pattern}'}}}}\""), "", expected);
    }
    check(BRANCH, "type=raw,value={{commit_date 'YYYYMMDD'}}", "", "20240229");
}

#[test]
fn labels_are_sorted_and_the_last_one_counts() {
    let mut inputs = inputs("", "");
    inputs.labels =
        entries("B=1\na={{branch}}=x\n_=2\nnothing\na=3\norg.opencontainers.image.title=\"T\"").unwrap();
    let metadata = super::metadata(&inputs, &context("push", BRANCH)).unwrap();
    let own = metadata.labels.iter().filter(|(key, _)| !key.starts_with("org") || key.ends_with("title"));
    let shown: Vec<String> = own.map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(shown, ["_=2", "a=3", "B=1", "org.opencontainers.image.title=\"T\""]);
    let created = metadata.labels.iter().find(|(key, _)| key.ends_with("created")).unwrap();
    assert_eq!(created.1, "2024-06-28T14:30:22.123Z");
}

/// What the neighbour prints and no registry takes; ours are errors.
#[test]
fn what_the_grammar_forbids_is_an_error() {
    for (reference, given, flavor) in [
        ("refs/heads/-lead", "", ""),
        ("refs/heads/.lead", "", ""),
        ("refs/heads/日本語", "", ""),
        (&format!("refs/heads/{}", "x".repeat(129)), "", ""),
        (BRANCH, "type=raw,value=.x", ""),
        (BRANCH, "", "prefix=-"),
        (BRANCH, "", "latest=true\nprefix={{x}},onlatest=true"),
    ] {
        let result = super::metadata(&inputs(given, flavor), &context("push", reference));
        assert!(matches!(result, Err(MetadataError::Tag { .. })), "{reference} {given} {flavor}: {result:?}");
    }
    for name in ["https://ghcr.io/a/b", "user/app:tag", "a b", "user/app@sha256:00"] {
        let inputs = Inputs { images: vec![name.to_owned()], ..inputs("", "") };
        let result = super::metadata(&inputs, &context("push", BRANCH));
        assert!(matches!(result, Err(MetadataError::Name { .. })), "{name}: {result:?}");
    }
}

/// The rows of docs/metadata-action.md that are about expressions; names that are none stand above.
#[test]
fn what_differs_on_purpose() {
    for given in ["{{lookup this 'sha'}}", "{{> part}}", "{{* decorator}}"] {
        let entry = format!("type=raw,value=x{given}");
        let outcome = super::metadata(&inputs(&entry, ""), &context("push", BRANCH));
        assert!(outcome.is_err(), "{given}: {outcome:?}");
    }
    let endless = format!("type=match,\"pattern=/(a+)+$/\",value={}!", "a".repeat(60));
    assert!(super::metadata(&inputs(&endless, ""), &context("push", TAG)).is_err());
    check(TAG, "type=semver,pattern={{{major}}}{{{minor}}}", "", "12 latest");
    check(BRANCH, "type=raw,value={{date 'YYYYMMDD-HH' tz='No/Where'}}", "", "20240628-14");
}

#[test]
fn wrong_entries_are_told() {
    for (given, flavor, expected) in [
        ("type=x", "", "unknown tag type attribute: x"),
        ("type=semver", "", "missing pattern attribute for type=semver"),
        ("type=ref,event=x", "", "invalid event for type=ref,event=x"),
        ("type=match,pattern=a,group=x", "", "invalid match group for type=match,pattern=a,group=x"),
        ("type=raw,a,enable=TRUE", "", "invalid value for enable attribute: TRUE"),
        ("", "latest=yes", "flavor entry \"latest=yes\": latest is auto, true or false"),
        ("", "foo", "flavor entry \"foo\": an attribute has no ="),
        ("a=", "", "missing value attribute for a="),
    ] {
        check(BRANCH, given, flavor, expected);
    }
}

#[test]
fn images_may_be_off_or_one_list() {
    let names = |images: &[&str]| {
        let inputs =
            Inputs { images: images.iter().map(|&name| name.to_owned()).collect(), ..inputs("", "") };
        super::metadata(&inputs, &context("push", BRANCH)).map(|metadata| metadata.tags())
    };
    assert_eq!(names(&["User/App,b"]).unwrap(), ["user/app:main", "b:main"]);
    assert_eq!(names(&["name=a,enable=false", "b"]).unwrap(), ["b:main"]);
    assert_eq!(names(&["name=a,enable=false"]).unwrap(), ["main"]);
    assert!(names(&["name=a,enable=FALSE"]).is_err());
    assert!(names(&["a", "nome=b"]).is_err());
}

#[test]
fn a_decoration_that_leads_nowhere_is_an_error() {
    let found = git_reference(|question| {
        let of_head = question == super::Question::Decoration;
        Ok::<_, super::NoReference>(if of_head {
            "wrong, HEAD, tag: 8.0.0".to_owned()
        } else {
            String::new()
        })
    });
    assert!(found.is_err());
}

/// Pieces that inputs are put together from.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "type=",
        "raw",
        "semver",
        "pep440",
        "match",
        "sha",
        "ref",
        "edge",
        "schedule",
        ",",
        "\n",
        "pattern=",
        "value=",
        "prefix=",
        "suffix=",
        "enable=",
        "priority=",
        "group=",
        "event=branch",
        "{{",
        "}}",
        "{{{",
        "}}}",
        "branch",
        "tag",
        "date 'YYYY-MM [x] LLLL z'",
        "#if",
        "/if",
        "else",
        "~",
        "(",
        ")",
        "\"",
        "'",
        "#",
        "=",
        "1",
        "-",
        ".",
        "/",
        "(a+)+$",
        "\\d",
        "[",
        "]",
        "é",
        "\0",
        "latest=true",
        "onlatest=true",
        " ",
        "x",
        "true",
    ];
    prop_oneof![proptest::sample::select(words.to_vec()).prop_map(str::to_owned), "\\PC{0,4}"]
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_input_panics_and_every_printed_reference_is_one(
        reference in prop_oneof![
            text(),
            "refs/(heads|tags|pull)/\\PC{0,40}",
            Just(TAG.to_owned()),
            Just(BRANCH.to_owned()),
        ],
        given in text(),
        flavor in text(),
        images in text(),
        labels in text(),
    ) {
        let list = |text: &str| entries(text).unwrap_or_default();
        let inputs = Inputs {
            images: list(&images),
            tags: list(&given),
            flavor: list(&flavor),
            labels: list(&labels),
            ..Inputs::default()
        };
        if let Ok(metadata) = Engine::default().metadata(&inputs, &context("push", &reference)) {
            for printed in metadata.tags() {
                let name = if metadata.images.is_empty() { format!("image:{printed}") } else { printed };
                prop_assert!(name.parse::<oci::Reference>().is_ok(), "{name}");
            }
            prop_assert_eq!(metadata.references().len(), metadata.images.len() * metadata.tag_names().count());
        }
    }

    #[test]
    fn an_engine_that_was_used_gives_the_same(given in text(), other in text()) {
        let engine = Engine::default();
        let run = |engine: &Engine, text: &str| {
            let inputs = Inputs { tags: entries(text).unwrap_or_default(), ..Inputs::default() };
            engine.metadata(&inputs, &context("push", TAG)).map(|metadata| metadata.tags()).map_err(|e| e.to_string())
        };
        let first = run(&engine, &given);
        let _ = run(&engine, &other);
        prop_assert_eq!(&run(&engine, &given), &first);
        prop_assert_eq!(&run(&Engine::default(), &given), &first);
    }
}
