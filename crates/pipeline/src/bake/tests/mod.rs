//! What definitions give: the neighbour's own cases where they are present, and the facts in them
//! restated as tables.

mod bounds;
mod cases;
mod compose;
mod errors;
mod functions;
mod language;
mod targets;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;

use super::{Bake, BakeError, File, Request, World, read};

/// What a definition is read in.
#[derive(Default)]
struct Room {
    files: Vec<File>,
    environment: BTreeMap<String, String>,
    given: BTreeMap<String, String>,
    others: BTreeMap<String, String>,
    home: Option<String>,
}

impl Room {
    fn of(name: &str, text: &str) -> Self {
        Self::default().and(name, text)
    }

    fn and(mut self, name: &str, text: &str) -> Self {
        self.files.push(File { name: name.to_owned(), text: text.to_owned() });
        self
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn beside(mut self, name: &str, text: &str) -> Self {
        self.others.insert(name.to_owned(), text.to_owned());
        self
    }

    fn definition(&self) -> Result<super::Definition, BakeError> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no such file or directory");
        let files = |name: &str| self.others.get(name).cloned().ok_or_else(missing);
        let world = World {
            environment: &self.environment,
            given: &self.given,
            now: "2020-01-10T00:30:00Z".parse().unwrap(),
            seed: [7; 16],
            home: self.home.clone(),
            platform: "linux/amd64".to_owned(),
            taken: Cell::new(0),
            files: &files,
        };
        read(&self.files, &world)
    }

    fn select(&self, targets: &[&str], overrides: &[&str]) -> Result<Bake, BakeError> {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (targets, overrides) = (own(targets), own(overrides));
        let request = Request { targets: &targets, overrides: &overrides, ..Request::default() };
        let bake = self.definition()?.select(&request, &self.environment)?;
        bake.check()?;
        Ok(bake)
    }
}

fn printed(bake: &Bake) -> serde_json::Value {
    serde_json::to_value(bake.printed()).unwrap()
}

/// Checks one key of the target `t`; text is shown as JSON, a mistake as its first line.
#[track_caller]
fn check_key(room: &Room, overrides: &[&str], key: &str, expected: &str) {
    let shown = match room.select(&["t"], overrides) {
        Ok(bake) => printed(&bake)["target"]["t"][key].to_string(),
        Err(error) => format!("! {}", error.to_string().lines().next().unwrap_or_default()),
    };
    assert_eq!(shown, expected);
}

/// Checks what an expression gives as an argument of a build.
#[track_caller]
fn check(expression: &str, expected: &str) {
    let room = Room::of(
        "docker-bake.hcl",
        &format!("target \"t\" {{\n  args = {{\n    v = {expression}\n  }}\n}}\n"),
    );
    let shown = match room.select(&["t"], &[]) {
        Ok(bake) => bake.targets["t"].args.get("v").cloned().unwrap_or_else(|| "null".to_owned()),
        Err(error) => format!("! {}", error.to_string().lines().next().unwrap_or_default()),
    };
    assert_eq!(shown, expected, "{expression}");
}
