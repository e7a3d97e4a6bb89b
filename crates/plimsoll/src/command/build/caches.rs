//! Caches outside this machine as flags; the names are buildx's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use builder::EmbeddedEngine;
use builder::cache::{Limits, OnCacheError, Tiers, Used};
use oci::{Descriptor, Repository};
use pipeline::caches::{self, CacheAccess, CacheWrite, Written};
use pipeline::configuration::CacheKind;
use pipeline::place::Places;

use super::cache_words::{From, To};
use super::output::Made;
use crate::error::{Code, Error};
use crate::session::Session;

/// How long the end of a build waits for caches to be written.
const BUDGET: Duration = Duration::from_mins(10);

/// Where steps are looked up and put besides the local store.
#[derive(Debug, Default, clap::Args)]
pub struct Caches {
    /// Cache to look steps up in: type=registry,ref=REF, local,src=FOLDER, s3,bucket=NAME or gha; the first that knows one wins
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<From>,
    /// Cache to put steps into: type=registry,ref=REF, local,dest=FOLDER, s3,bucket=NAME or gha, with mode=min|max [default: min]
    #[arg(long, value_name = "CACHE")]
    cache_to: Vec<To>,
}

impl Caches {
    /// Returns the tiers to look steps up in, which are being fetched from then on; `None` where there are none.
    pub fn tiers(&self, session: &Session, places: &Places) -> Result<Option<Arc<Tiers>>, Error> {
        let folder = &session.environment.folder;
        let mut tiers = Vec::new();
        for from in &self.cache_from {
            match from.cache.open(places, folder, CacheAccess::Read, &[]) {
                Ok(tier) => tiers.extend(tier),
                Err(error) => complain(
                    session,
                    from.on_error,
                    &format!("the cache {} is not used", from.cache),
                    &error,
                )?,
            }
        }
        let fails = self.cache_from.iter().any(|from| from.on_error == OnCacheError::Fail);
        let on_error = if fails { OnCacheError::Fail } else { OnCacheError::Warn };
        Ok((!tiers.is_empty()).then(|| Arc::new(Tiers::start(tiers, on_error))))
    }

    /// Whether any is given.
    pub fn are_given(&self) -> bool {
        !self.cache_from.is_empty() || !self.cache_to.is_empty()
    }

    /// Returns these caches, or where none are given those that a definition has, as its words say; with a mistake comes the key.
    pub fn or(&self, from: &[String], to: &[String]) -> Result<Self, (&'static str, String)> {
        fn all<T: Clone + std::str::FromStr<Err = String>>(
            given: &[T],
            key: &'static str,
            words: &[String],
        ) -> Result<Vec<T>, (&'static str, String)> {
            match given {
                [] => words.iter().map(|word| word.parse().map_err(|reason| (key, reason))).collect(),
                given => Ok(given.to_vec()),
            }
        }
        Ok(Self {
            cache_from: all(&self.cache_from, "cache-from", from)?,
            cache_to: all(&self.cache_to, "cache-to", to)?,
        })
    }

    /// Returns what of a build goes into which cache; `pushed` is where the image went.
    pub fn uses(&self, scope: &str, made: &Made, pushed: &[Repository]) -> Vec<CacheUse> {
        let several = made.children.len() > 1;
        let used = |to: &To| {
            let used = made.children.iter().map(|(platform, built)| {
                let scope = if several { format!("{scope} {platform}") } else { scope.to_owned() };
                (scope, to.extent.of(built))
            });
            used.collect()
        };
        let of = |to: &To| CacheUse {
            to: to.clone(),
            used: used(to),
            subject: Some(made.image.descriptor().clone()),
            pushed: pushed.to_vec(),
        };
        self.cache_to.iter().map(of).collect()
    }
}

/// What of a build goes into a cache.
pub struct CacheUse {
    to: To,
    used: Vec<(String, Used)>,
    subject: Option<Descriptor>,
    pushed: Vec<Repository>,
}

/// Writes what builds used, and waits for it. What goes into one cache is written at once.
pub fn write(
    session: &Session,
    engine: &EmbeddedEngine,
    places: &Places,
    uses: Vec<CacheUse>,
) -> Result<(), Error> {
    let mut together: Vec<CacheUse> = Vec::new();
    for one in uses {
        let same =
            |known: &&mut CacheUse| known.to.cache == one.to.cache && one.to.cache.kind != CacheKind::Image;
        match together.iter_mut().find(same) {
            Some(known) => {
                known.used.extend(one.used);
                known.pushed.extend(one.pushed);
            }
            None => together.push(one),
        }
    }
    let (mut writes, mut on_errors) = (Vec::new(), BTreeMap::new());
    for CacheUse { to, used, subject, pushed } in together {
        match to.cache.open(places, &session.environment.folder, CacheAccess::Write, &pushed) {
            Ok(Some(tier)) => {
                on_errors.insert(tier.label.clone(), to.on_error);
                writes.push(CacheWrite { tier, used, subject });
            }
            Ok(None) => {}
            Err(error) => complain(session, to.on_error, &not_written(&to.cache.to_string()), &error)?,
        }
    }
    let writing = caches::write(&engine.workspace().exporter(), writes, Limits::default());
    for (label, written) in writing.wait(BUDGET) {
        tell(session, &label, written, on_errors.get(&label).copied().unwrap_or_default())?;
    }
    Ok(())
}

fn not_written(label: &str) -> String {
    format!("the cache {label} was not written")
}

/// Says how writing to a cache ended.
pub fn tell(session: &Session, label: &str, written: Written, on_error: OnCacheError) -> Result<(), Error> {
    match written {
        Written::Done(exported) => {
            match exported.is_new {
                true => exported.told(label).iter().for_each(|message| session.ui.note(message)),
                false => session.ui.note(format_args!("the cache {label} has everything")),
            }
            for problem in &exported.problems {
                session.ui.warn(format_args!("the cache {label} is without {problem}"));
            }
        }
        Written::Failed(error) => complain(session, on_error, &not_written(label), &error)?,
        Written::NotOpened(error) => complain(session, on_error, &not_written(label), error.as_ref())?,
        Written::GivenUp => {
            let late = std::io::Error::other("it took too long");
            complain(session, on_error, &not_written(label), &late)?;
        }
    }
    Ok(())
}

/// Warns of a cache, or fails where that was asked for.
fn complain(
    session: &Session,
    on_error: OnCacheError,
    what: &str,
    error: &(dyn std::error::Error + 'static),
) -> Result<(), Error> {
    if on_error == OnCacheError::Fail {
        let code = session.ui.failure(what, error);
        return Err(Error::Reported(if code == Code::Done { Code::Failed } else { code }));
    }
    session.ui.warn(format!("{what}: {}", store::with_causes(error)));
    Ok(())
}

/// Returns the name under which records of a build grow old together.
pub fn scope(names: &[oci::Reference], dockerfile: &Path, target: Option<&str>) -> String {
    match names.first() {
        Some(name) => name.repository().to_string(),
        None => format!("{} {}", dockerfile.display(), target.unwrap_or_default()),
    }
}
