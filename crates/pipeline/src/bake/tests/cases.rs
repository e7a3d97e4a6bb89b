//! The neighbour's own tests and documentation as cases: definitions with what
//! `docker buildx bake --print` 0.29.1 says of them.

use std::path::{Path, PathBuf};

use super::*;

/// Cases that are answered otherwise on purpose, each with its reason. There are none in the file:
/// what differs on purpose lies outside of it (docs/bake.md has the table, the other tests assert it).
const DIFFERENT: [(&str, &str); 0] = [];

/// Returns the file of cases where it is present: in `PLIMSOLL_CASES`, or in `shared/cases` of a folder above.
#[allow(clippy::disallowed_methods, reason = "tests find their vectors by a variable")]
fn file() -> Option<PathBuf> {
    let named = std::env::var_os("PLIMSOLL_CASES").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("shared/cases"));
    named.into_iter().chain(above).map(|folder| folder.join("bake-cases.json")).find(|file| file.exists())
}

#[test]
fn answers_as_the_neighbour_does() {
    let Some(file) = file() else {
        eprintln!("skipped: bake-cases.json is not there; name its folder with PLIMSOLL_CASES");
        return;
    };
    let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    assert!(cases.len() > 300, "the file holds only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let different = DIFFERENT.iter().any(|(known, _)| *known == id);
        if same(case) == different {
            wrong.push(id);
        }
    }
    assert!(wrong.is_empty(), "{} cases are answered otherwise than they should be: {wrong:#?}", wrong.len());
}

fn same(case: &serde_json::Value) -> bool {
    let text = |key: &str| case[key].as_str().unwrap();
    let targets: Vec<&str> =
        case["targets"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let answer = Room::of(text("file"), text("content")).select(&targets, &[]);
    match (answer, case["expect"].get("value")) {
        (Ok(bake), Some(expected)) => printed(&bake) == *expected,
        // Nothing that secrets and agents name was there when the neighbour was asked; the binary looks for it.
        (Ok(bake), None) => {
            let file = |secret: &crate::bake::Secret| secret.variable.is_empty();
            let mut targets = bake.targets.values();
            targets.any(|target| {
                target.secrets.iter().flatten().any(file) || target.ssh.iter().flatten().next().is_some()
            })
        }
        (Err(_), expected) => expected.is_none(),
    }
}
