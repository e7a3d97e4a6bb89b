//! The rules of ARCHITECTURE.md as tests: who may import whom, where `unsafe` may stand, which
//! effects belong to the binary alone, and what no file may name.

use std::collections::BTreeMap;

use testkit::source::{self, SourceFile};
use toml_edit::{DocumentMut, Item};

/// Every crate and its floor. `testkit` stands aside: only tests import it.
const FLOORS: &[(&str, u32)] = &[
    ("oci", 0),
    ("layer", 1),
    ("store", 1),
    ("registry", 2),
    ("containerd", 2),
    ("builder", 2),
    ("scanner", 2),
    ("attestation", 2),
    ("pipeline", 3),
    ("forge", 4),
    ("record", 4),
    ("plimsoll", 5),
];

/// `store` keeps what `layer` makes and may name its types; every other pair on a floor is apart.
const NEIGHBOURS: &[(&str, &str)] = &[("store", "layer")];

/// Crates that may use an async runtime; everything else blocks.
const ASYNC: &[&str] = &["registry", "containerd", "plimsoll"];

/// Effects that belong to the binary, and what takes their place elsewhere.
const EFFECTS: &[(&str, &str)] = &[
    ("println!", "return the value; plimsoll::ui prints"),
    ("eprintln!", "report progress or return an error; plimsoll::ui prints"),
    ("print!", "return the value; plimsoll::ui prints"),
    ("eprint!", "report progress or return an error; plimsoll::ui prints"),
    ("env::var", "take the environment as an argument"),
    ("env::set_var", "pass the environment to the child"),
    ("env::args", "take arguments as a value"),
    ("env::temp_dir", "take the folder as an argument"),
    ("env::home_dir", "take the folder as an argument"),
    ("process::exit", "return an error"),
    ("SystemTime::now", "take `now` as an argument"),
    ("Timestamp::now", "take `now` as an argument"),
    ("Zoned::now", "take `now` as an argument"),
];

/// File names that say nothing about what is inside.
const VAGUE_NAMES: &[&str] = &["utils", "util", "common", "helpers", "manager", "misc", "types"];

#[test]
fn every_crate_has_a_floor() {
    let named: Vec<&str> = FLOORS.iter().map(|(name, _)| *name).chain(["testkit"]).collect();
    let found: Vec<String> = manifests().into_keys().collect();
    for name in &found {
        assert!(
            named.contains(&name.as_str()),
            "crates/{name} has no floor in tests/floors.rs and ARCHITECTURE.md"
        );
    }
    for name in named {
        assert!(
            found.iter().any(|crate_name| crate_name == name),
            "floor of {name}, but there is no crates/{name}"
        );
    }
}

#[test]
fn imports_go_down_only() {
    for (name, manifest) in manifests() {
        for import in imports(&manifest, "dependencies") {
            assert!(
                may_import(&name, &import),
                "{name} must not depend on {import}: imports go down a floor"
            );
        }
    }
}

#[test]
fn only_tests_import_the_testkit() {
    for (name, manifest) in manifests() {
        let imported = imports(&manifest, "dependencies").contains(&"testkit".to_owned());
        assert!(!imported, "{name} depends on testkit outside [dev-dependencies]");
        for import in imports(&manifest, "dev-dependencies").iter().filter(|import| *import != "testkit") {
            assert!(may_import(&name, import), "tests of {name} must not import {import}");
        }
    }
}

#[test]
fn only_some_crates_are_async() {
    for (name, manifest) in manifests() {
        let uses_tokio = dependencies(&manifest, "dependencies").iter().any(|import| import == "tokio");
        assert!(!uses_tokio || ASYNC.contains(&name.as_str()), "{name} depends on tokio; only {ASYNC:?} may");
    }
}

#[test]
fn unsafe_stands_in_the_sandbox_only() {
    let elsewhere = rust_files().filter(|file| !file.path.starts_with("crates/builder/src/sandbox/"));
    assert_none(elsewhere.flat_map(|file| uses(&file, &[("unsafe", "only crates/builder/src/sandbox may")])));
}

#[test]
fn effects_belong_to_the_binary() {
    // A program of its own under src/bin, such as the one tests start as a sandbox, is a binary too.
    let of_the_binary =
        |file: &SourceFile| file.path.contains("/src/bin/") || file.crate_name() == Some("plimsoll");
    let elsewhere = rust_files().filter(|file| !file.is_test() && !of_the_binary(file));
    assert_none(elsewhere.flat_map(|file| uses(&file, EFFECTS)));
}

#[test]
fn every_module_says_what_it_owns() {
    let silent = rust_files().filter(|file| !file.text.starts_with("//! "));
    assert_none(silent.map(|file| format!("{} does not open with //!", file.path)));
}

#[test]
fn nothing_is_ignored_or_left_for_later() {
    let marks =
        [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat(), ["#[ig", "nore"].concat()];
    let lines =
        |file: SourceFile| marks.iter().flat_map(|mark| names(&file, mark, "do it now")).collect::<Vec<_>>();
    assert_none(rust_files().flat_map(lines));
}

#[test]
fn files_are_named_for_what_is_inside() {
    let vague =
        rust_files().filter(|file| file.path.split(['/', '.']).any(|part| VAGUE_NAMES.contains(&part)));
    assert_none(vague.map(|file| format!("{} is named for nothing", file.path)));
}

#[test]
fn no_file_names_a_package_registry() {
    let hosts = package_registries();
    let instead = "take the host from the machine's own settings at run time";
    // The lock file names the index that every lock file names.
    let files = source::files().into_iter().filter(|file| file.path != "Cargo.lock");
    assert_none(
        files.flat_map(|file| hosts.iter().flat_map(|host| names(&file, host, instead)).collect::<Vec<_>>()),
    );
}

#[test]
fn no_file_names_a_path_of_the_developers_machine() {
    let root = source::repository_root();
    let mut paths = vec![
        ["/ro", "ot/.car", "go"].concat(),
        ["/ro", "ot/.rust", "up"].concat(),
        ["/work", "/wt-"].concat(),
    ];
    paths.extend(["main", "shared", "target", ".library"].map(|folder| format!("/{}/{folder}", "work")));
    if root.components().count() > 2 {
        paths.push(root.to_string_lossy().into_owned());
    }
    let instead = "paths are relative to the repository, or arguments";
    assert_none(
        source::files()
            .into_iter()
            .flat_map(|file| paths.iter().flat_map(|path| names(&file, path, instead)).collect::<Vec<_>>()),
    );
}

fn may_import(name: &str, import: &str) -> bool {
    let floor = |wanted: &str| FLOORS.iter().find(|(name, _)| *name == wanted).map(|(_, floor)| *floor);
    match (floor(name), floor(import)) {
        (None, _) => import != "plimsoll",
        (Some(above), Some(below)) => below < above || NEIGHBOURS.contains(&(name, import)),
        (Some(_), None) => false,
    }
}

/// Returns each crate's manifest by the crate's name.
fn manifests() -> BTreeMap<String, DocumentMut> {
    let manifests = source::files().into_iter().filter_map(|file| {
        let name = file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?.to_owned();
        let manifest = file.text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.path));
        Some((name, manifest))
    });
    manifests.filter(|(name, _)| !name.contains('/')).collect()
}

fn imports(manifest: &DocumentMut, table: &str) -> Vec<String> {
    let ours = |name: &String| name == "testkit" || FLOORS.iter().any(|(known, _)| known == name);
    dependencies(manifest, table).into_iter().filter(ours).collect()
}

fn dependencies(manifest: &DocumentMut, table: &str) -> Vec<String> {
    let table = manifest.get(table).and_then(Item::as_table_like);
    table.map_or_else(Vec::new, |table| table.iter().map(|(name, _)| name.to_owned()).collect())
}

fn rust_files() -> impl Iterator<Item = SourceFile> {
    source::files().into_iter().filter(SourceFile::is_rust)
}

fn package_registries() -> Vec<String> {
    let hosts: &[&[&str]] = &[
        &["crates", "io"],
        &["deb", "debian", "org"],
        &["security", "debian", "org"],
        &["archive", "ubuntu", "com"],
        &["pypi", "org"],
        &["files", "pythonhosted", "org"],
        &["registry", "npmjs", "org"],
        &["proxy", "golang", "org"],
        &["repo", "maven", "apache", "org"],
        &["rubygems", "org"],
    ];
    hosts.iter().map(|parts| parts.join(".")).collect()
}

#[track_caller]
fn assert_none(violations: impl Iterator<Item = String>) {
    let violations: Vec<String> = violations.collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

/// Returns a line of complaint for each use of one of `words` in the file's code.
fn uses(file: &SourceFile, words: &[(&str, &str)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in file.code().lines().enumerate() {
        for (word, instead) in words.iter().filter(|(word, _)| has_word(line, word)) {
            complaints.push(format!("{}:{} uses {word}: {instead}", file.path, number + 1));
        }
    }
    complaints
}

/// Returns a line of complaint for each line of the file with `text` in it, in code or not.
fn names(file: &SourceFile, text: &str, instead: &str) -> Vec<String> {
    let lines = file.text.lines().enumerate().filter(|(_, line)| line.contains(text));
    lines.map(|(number, _)| format!("{}:{} names {text}: {instead}", file.path, number + 1)).collect()
}

/// Whether `word` stands in `line` and is not the end of a longer word (`eprintln!` has no
/// `println!` in it) nor, where it ends in a letter, the beginning of one (`unsafe_code`).
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let starts = !line[..at].ends_with(part_of_word);
        let next = line[at + word.len()..].chars().next();
        let whole = word != "unsafe" || !next.is_some_and(part_of_word);
        starts && whole
    })
}

#[test]
fn words_are_whole() {
    assert!(has_word("unsafe { x }", "unsafe"));
    assert!(!has_word("#![deny(unsafe_code)]", "unsafe"));
    assert!(!has_word("eprintln!(x)", "println!"));
    assert!(has_word("std::env::var_os(x)", "env::var"));
}

#[test]
fn the_table_of_floors_allows_and_refuses() {
    assert!(
        may_import("pipeline", "registry")
            && may_import("store", "layer")
            && may_import("plimsoll", "record")
    );
    assert!(
        !may_import("registry", "builder") && !may_import("layer", "store") && !may_import("oci", "layer")
    );
    assert!(!may_import("record", "forge") && !may_import("store", "registry"));
}
