//! The whole file of the contract, and every mistake with the place it is shown at.

use proptest::prelude::*;

use super::*;

/// The file that section 3 of the contract shows, key by key.
const WHOLE: &str = include_str!("../../tests/data/whole.toml");

fn parse(text: &str) -> Configuration {
    Configuration::parse(text, "plimsoll.toml").unwrap_or_else(|error| panic!("{error}"))
}

fn error(text: &str) -> String {
    Configuration::parse(text, "plimsoll.toml").unwrap_err().to_string()
}

fn set(text: &str, overrides: &[&str]) -> Result<Configuration, String> {
    let overrides: Vec<String> = overrides.iter().map(|given| (*given).to_owned()).collect();
    Configuration::parse_with(text, "plimsoll.toml", &overrides).map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_is_the_defaults() {
    let configuration = parse("");
    assert_eq!(configuration, Configuration::default());
    assert_eq!(configuration.identity.short_sha, 7);
    assert_eq!(configuration.defaults.push.retry.attempts, 3);
    assert_eq!(configuration.defaults.push.retry.timeout.0.as_secs(), 25 * 60);
}

#[test]
fn every_key_of_the_contract_is_read() {
    let configuration = parse(WHOLE);
    assert_eq!(configuration.project.as_deref(), Some("acme/shop"));
    assert_eq!(configuration.identity.tag.len(), 5);
    assert_eq!(configuration.defaults.cache.read.len(), 4);
    let api = &configuration.service["api"];
    assert_eq!(api.args["APP_ENV"], Argument("production".to_owned()));
    assert_eq!(api.secrets["npm"], Secret::Env("NPM_TOKEN".to_owned()));
    assert_eq!(configuration.service["web"].needs.0["base"].as_str(), "api");
    assert_eq!(configuration.service["web"].dockerfile(), Path::new("services/web/Dockerfile"));
    assert_eq!(configuration.suite["integration"].shards, 4);
    assert_eq!(configuration.suite["integration"].all_services().len(), 2);
    let gate = configuration.gate.vulnerabilities.as_ref().unwrap();
    assert_eq!(gate.ignore["CVE-2024-0001"].until, Some(jiff::civil::date(2026, 12, 31)));
    assert_eq!(configuration.gate.size.as_ref().unwrap().max_growth.unwrap().factor(), 0.05);
    assert!(configuration.gate.freshness.is_some());
    assert_eq!(configuration.retention.rule.len(), 3);
    assert_eq!(configuration.sign.key, Some(SecretSource::Env("COSIGN_PRIVATE_KEY".to_owned())));
}

#[test]
fn the_example_is_read() {
    let configuration = parse(include_str!("../../../../examples/shop/plimsoll.toml"));
    assert_eq!(configuration.service.len(), 3);
    assert_eq!(configuration.suite["storefront"].start.len(), 2);
}

#[test]
fn a_mistyped_key_is_shown_with_its_line() {
    insta::assert_snapshot!(error("[service.api]\ncontxt = \"services/api\"\n"), @r#"
    unknown key `contxt` in [service.api]
     --> plimsoll.toml:2:1
      |
    2 | contxt = "services/api"
      | ^^^^^^
      = did you mean `context`?
    "#);
}

#[test]
fn all_unknown_keys_are_shown_at_once() {
    let text = "projekt = \"x\"\n\n[defaults.push]\nretry = { attempt = 3 }\nfail-on = []\n[[identity.tag]]\non = \"schedule\"\ntags = []\ntabs = 1\n";
    insta::assert_snapshot!(error(text), @r#"
    unknown key `projekt`
     --> plimsoll.toml:1:1
      |
    1 | projekt = "x"
      | ^^^^^^^
      = did you mean `project`?

    unknown key `attempt` in [defaults.push.retry]
     --> plimsoll.toml:4:11
      |
    4 | retry = { attempt = 3 }
      |           ^^^^^^^
      = did you mean `attempts`?

    unknown key `fail-on` in [defaults.push]
     --> plimsoll.toml:5:1
      |
    5 | fail-on = []
      | ^^^^^^^
      = `fail-on` is a key of [gate.vulnerabilities]

    unknown key `tabs` in [identity.tag]
     --> plimsoll.toml:9:1
      |
    9 | tabs = 1
      | ^^^^
      = did you mean `tags`?
    "#);
}

#[test]
fn a_wrong_value_is_shown_where_it_stands() {
    insta::assert_snapshot!(error("[suite.smoke]\nimage = \"api\"\nrun = [\"x\"]\ntimeout = \"15 minutes\"\n"), @r#"
    "15 minutes" is not a length of time, such as 10s, 25m, 1h30m or 7d
     --> plimsoll.toml:4:11
      |
    4 | timeout = "15 minutes"
      |           ^^^^^^^^^^^^
    "#);
}

#[track_caller]
fn check_refused(text: &str, line: usize, message: &str) {
    let error = error(text);
    assert!(error.contains(message), "{error}");
    assert!(error.contains(&format!("plimsoll.toml:{line}:")), "{error}");
}

#[test]
fn wrong_values_name_what_is_expected() {
    check_refused("project = 3\n", 1, "expected a string");
    check_refused("project = \"My Shop\"\n", 1, "cannot stand in the name of an image");
    check_refused("registry = \"https://ghcr.io\"\n", 1, "not an image reference");
    check_refused("[identity]\nshort-sha = 3\n", 2, "from 4 to 64");
    check_refused("[identity]\nmax-length = 500\n", 2, "from 16 to 128");
    check_refused("[identity]\nlatest = \"always\"\n", 2, "highest-semver");
    check_refused("[identity]\nmetadata = \"docker\"\ntags = \"type=x\"\n", 2, "unknown tag type");
    check_refused("[identity]\nlabels = [\"a=b\"]\n", 2, "need metadata");
    check_refused("[identity]\nflavor = \"latest=auto\"\n", 2, "needs metadata");
    check_refused("[[identity.tag]]\non = \"brnch:x\"\ntags = []\n", 2, "did you mean branch:?");
    check_refused("[[identity.tag]]\non = []\ntags = []\n", 2, "for no event");
    check_refused("[[identity.tag]]\non = \"schedule\"\ntags = [\"{brnch}\"]\n", 3, "did you mean {branch}?");
    check_refused(
        "[[identity.tag]]\non = \"schedule\"\ntags = [\"ok\", \"a/{sha}\"]\n",
        3,
        "'/' may not stand in a tag",
    );
    check_refused("[[identity.tag]]\non = \"schedule\"\ntags = [\"{date:%H:%M}\"]\n", 3, "':' may not stand");
    check_refused("[[identity.tag]]\non = \"schedule\"\ntags = [\"-{sha}\"]\n", 3, "does not start");
    check_refused(
        "[[identity.tag]]\non = \"schedule\"\ntags = [\"a\"]\nimmutable = [\"b\"]\n",
        4,
        "not one of the rule's tags",
    );
    check_refused("[identity.labels]\nx = \"{image}\"\n", 2, "cannot name the image");
    check_refused("[defaults]\nplatforms = [\"linux\"]\n", 2, "not a platform");
    check_refused("[defaults]\nengine = \"buildkt\"\n", 2, "did you mean buildkit?");
    check_refused("[defaults.push]\nretry = { attempts = 0 }\n", 2, "from 1 to 100");
    let host = |keys: &str, words: &str| {
        check_refused(&format!("[defaults.push.host.\"ghcr.io\"]\n{keys}\n"), 2, words);
    };
    host("retry = { attempts = 101 }", "from 1 to 100");
    host("retry = { backoff = 0.5 }", "from 1.0 to 10.0");
    host("retry = { silence = \"10ms\" }", "at least 1s");
    host("retry = { attempt = 2 }", "unknown key `attempt`");
    host("requests = 0", "from 1 to 64");
    host("ranges = { connections = 17 }", "from 1 to 16");
    host("ranges = { size = \"1KiB\" }", "from 64KiB to 64MiB");
    host("parallel = 3", "unknown key `parallel`");
    check_refused("[defaults.push]\nretry = { silence = \"0s\" }\n", 2, "at least 1s");
    check_refused("[defaults.push]\nrequests = 65\n", 2, "from 1 to 64");
    check_refused("[defaults.push.host.\"a b\"]\nrequests = 3\n", 1, "a b");
    check_refused("[defaults.push]\nevents = [\"pull_reqest\"]\n", 2, "pull_request");
    check_refused("[service.api]\nargs = { V = 1.10 }\n", 2, "in quotes");
    check_refused(
        "[service.api]\nsecrets = { npm = { environment = \"X\" } }\n",
        2,
        "unknown key `environment`",
    );
    check_refused("[service.\"a/b\"]\n", 1, "not a name");
    check_refused("[service.api]\n[service.web]\nneeds = { base = \"apu\" }\n", 3, "did you mean \"api\"?");
    check_refused("[skip]\ncommits = [\"(\"]\n", 2, "not a regular expression");
    check_refused("[suite.a]\n", 1, "neither `run` nor `host`");
    check_refused("[suite.a]\nrun = \"x\"\n", 2, "no `image`");
    check_refused("[suite.a]\nhost = []\n", 2, "the command is empty");
    check_refused("[suite.a]\nhost = 3\n", 2, "expected a command");
    check_refused("[service.x]\n[suite.a]\nhost = \"x\"\nstart = \"y\"\n", 4, "there is no service \"y\"");
    check_refused("[suite.a]\nhost = \"x\"\nneeds = [\"b\"]\n", 3, "there is no suite \"b\"");
    check_refused(
        "[suite.a]\nhost = \"x\"\nneeds = [\"b\"]\n[suite.b]\nhost = \"x\"\nneeds = [\"a\"]\n",
        3,
        "a -> b -> a",
    );
    check_refused(
        "[gate.vulnerabilities]\nignore = { C = { until = 12:00:00, reason = \"\" } }\n",
        2,
        "not a day",
    );
    check_refused("[sign]\nkey = \"hunter2\"\n", 2, "secrets themselves");
    check_refused("schema = 2\n", 1, "schema 2");
    check_refused("a = \n", 1, "");
    check_refused("[service.api]\n[service.api]\n", 2, "duplicate key");
}

#[test]
fn a_secret_in_the_wrong_place_is_only_shown_as_the_line_it_stands_on() {
    let error = error("[sign]\nkey = \"hunter2\"\n");
    assert_eq!(error.matches("hunter2").count(), 1, "{error}");
}

#[test]
fn overrides_are_read_as_toml_or_as_text() {
    let configuration =
        set(WHOLE, &["identity.short-sha=8", "project=acme/other", "service.api.args.VERSION=1.10"]);
    let configuration = configuration.unwrap();
    assert_eq!(configuration.identity.short_sha, 8);
    assert_eq!(configuration.project.as_deref(), Some("acme/other"));
    assert_eq!(configuration.service["api"].args["VERSION"], Argument("1.10".to_owned()));
    assert_eq!(configuration.service["api"].args["APP_ENV"], Argument("production".to_owned()));
    let configuration = set("", &["service.new.context=x", "defaults.platforms=[\"linux/arm64\"]"]).unwrap();
    assert_eq!(configuration.service["new"].context(), Path::new("x"));
    assert_eq!(configuration.defaults.platforms.len(), 1);
    assert!(set("project = 3\n", &["project=x"]).is_ok());
}

#[test]
fn wrong_overrides_are_blamed_on_the_override() {
    let blame = |given: &str| set("[service.api]\n", &[given]).unwrap_err();
    assert!(blame("identity.short-sha").contains("expected KEY=VALUE"));
    assert!(blame("a b=1").contains("is not a key"));
    assert!(blame("schema.x=1").contains("--set schema.x=1"));
    assert!(blame("service.api.contxt=x").contains("plimsoll.toml with --set service.api.contxt=x"));
    assert!(blame("identity.short-sha=many").contains("--set identity.short-sha=many"));
    let both = set("projct = 1\n", &["identity.short-sha=many"]).unwrap_err();
    assert!(both.contains("--> plimsoll.toml:1:1"), "{both}");
    assert!(
        set("project = \"x\"\n", &["project.name=y"]).unwrap_err().contains("`project` is not a table but")
    );
}

#[test]
fn a_lone_dockerfile_is_a_service_named_after_its_folder() {
    let folder = tempfile::Builder::new().prefix("My Shop_").rand_bytes(0).tempdir().unwrap();
    let missing = Configuration::load(folder.path(), None, &[]).unwrap_err().to_string();
    assert!(missing.contains("no Dockerfile") && missing.contains("plimsoll.toml"), "{missing}");
    std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    for text in [None, Some("")] {
        text.iter().for_each(|text| std::fs::write(folder.path().join(FILE_NAME), text).unwrap());
        let configuration = Configuration::load(folder.path(), None, &[]).unwrap();
        assert_eq!(configuration.service.keys().map(Name::as_str).collect::<Vec<_>>(), ["my-shop"]);
        assert_eq!(configuration.project.as_deref(), Some("my-shop"));
    }
    let error = Configuration::load(folder.path(), Some(Path::new("/nowhere/x.toml")), &[]).unwrap_err();
    assert!(matches!(error, ConfigurationError::Unreadable { .. }), "{error}");
}

#[test]
fn folders_without_a_usable_name_are_called_app() {
    assert_eq!(folder_name(Path::new("/")).as_str(), "app");
    assert_eq!(folder_name(Path::new("/nowhere/日本")).as_str(), "app");
    assert_eq!(folder_name(Path::new("/nowhere/Shop 2")).as_str(), "shop-2");
}

#[test]
fn the_schema_knows_every_key_and_its_default() {
    let schema = schema().to_value();
    assert_eq!(schema["$id"], "plimsoll.config/1");
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["schema"]["default"], 1);
    let whole: toml_edit::DocumentMut = WHOLE.parse().unwrap();
    for (key, _) in whole.iter() {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
}

proptest! {
    #[test]
    fn never_panics(text in "(\\[|\\]|=|\"|\n|service|suite|identity|tag|on|x|\\.|\\{|\\}|1|#| ){0,40}") {
        let _ = Configuration::parse(&text, "plimsoll.toml").map_err(|error| error.to_string());
        let _ = Configuration::parse_with("", "plimsoll.toml", std::slice::from_ref(&text));
    }
}
