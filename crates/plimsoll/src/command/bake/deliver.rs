//! Taking the images of targets to where they are to go, once all are built: registries, archives, folders, a daemon,
//! caches, and a file that says what there is.

use std::collections::BTreeMap;
use std::path::Path;

use pipeline::copy;
use store::StoreError;

use super::build::{Building, home};
use super::wanted::Wanted;
use crate::command::build::caches;
use crate::command::build::output::{self, Made};
use crate::command::copy::LeftOut;
use crate::error::Error;
use crate::session::Session;
use crate::ui::transfer::Transfer;

type All = BTreeMap<String, Option<Made>>;

impl Building<'_> {
    /// Takes each image everywhere; what does not get there is told, and the others go on.
    pub fn deliver(&self, all: &[Wanted], made: &All) {
        for wanted in all {
            let Some(made) = made.get(&wanted.job.target).and_then(Option::as_ref) else { continue };
            if let Err(error) = self.deliver_one(wanted, made) {
                let code = error.code();
                let target = &wanted.job.target;
                self.session
                    .ui
                    .failure(&format!("target {target} was built and did not get where it is to go"), &error);
                self.codes.lock().expect("no holder panics").push(code);
            }
        }
    }

    fn deliver_one(&self, wanted: &Wanted, made: &Made) -> Result<(), Error> {
        let places = self.workbench.places();
        let target = &wanted.job.target;
        for tag in wanted.job.tags.iter().filter(|_| wanted.is_pushed) {
            let image = places.find_local(&home(&wanted.job))?;
            let absent = || StoreError::NotFound { what: format!("the image of target {target}") };
            let transfer = Transfer::new(&self.session.ui, tag.to_string());
            let choice = copy::Choice { foreign: self.arguments.foreign.choice(), ..copy::Choice::default() };
            let outcome = copy::copy(places, &image.ok_or_else(absent)?, tag, &choice, &|event| {
                transfer.observe(event)
            })?;
            drop(transfer);
            LeftOut::tell(self.session, &outcome.copied.left_out);
        }
        output::write(self.session, self.workbench, &wanted.outputs, made)
    }

    /// Writes what was built to the caches that are asked for, also where something else failed.
    pub fn write_caches(&self, all: &[Wanted], made: &All) -> Result<(), Error> {
        let mut uses = Vec::new();
        for wanted in all {
            let Some(made) = made.get(&wanted.job.target).and_then(Option::as_ref) else { continue };
            let is_there = wanted.is_pushed && self.codes.lock().expect("no holder panics").is_empty();
            let pushed: Vec<oci::Repository> = match is_there {
                true => wanted.job.tags.iter().map(|tag| tag.repository().clone()).collect(),
                false => Vec::new(),
            };
            uses.extend(wanted.caches.uses(&wanted.job.target, made, &pushed));
        }
        caches::write(self.session, self.workbench.engine(), self.workbench.places(), uses)
    }
}

/// Writes what the neighbour writes for `--metadata-file`.
pub(super) fn write_metadata(
    session: &Session,
    file: &Path,
    all: &[Wanted],
    made: &All,
) -> Result<(), Error> {
    let entry = |wanted: &Wanted| {
        let made = made.get(&wanted.job.target).and_then(Option::as_ref)?;
        let mut fields = serde_json::Map::new();
        fields.insert("containerimage.digest".to_owned(), serde_json::json!(made.image.digest().to_string()));
        if made.is_named {
            let tags: Vec<String> = made.names.iter().map(ToString::to_string).collect();
            fields.insert("image.name".to_owned(), tags.join(",").into());
        }
        Some((wanted.job.target.clone(), serde_json::Value::Object(fields)))
    };
    let all: serde_json::Map<String, serde_json::Value> =
        all.iter().filter(|wanted| !wanted.job.linked).filter_map(entry).collect();
    let text = serde_json::to_string_pretty(&all).expect("names and digests are JSON");
    let file = session.environment.folder.join(file);
    std::fs::write(&file, text + "\n").map_err(|source| Error::file("write", &file, source))
}
