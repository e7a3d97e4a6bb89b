//! `--annotation`: what is said of the manifest, of the index, and of the entries of the index.
//!
//! | written | goes to |
//! |---|---|
//! | `KEY=VALUE`, `manifest:KEY=VALUE` | the manifest of each platform |
//! | `manifest[linux/amd64]:KEY=VALUE` | the manifest of that platform |
//! | `index:KEY=VALUE` | the index |
//! | `manifest-descriptor:KEY=VALUE` | the entries of the index |
//! | `index,manifest:KEY=VALUE` | both |
//!
//! Source: buildx, docs/guides/annotations.md.

use std::collections::BTreeMap;
use std::str::FromStr;

use oci::{Annotations, Platform};
use pipeline::platforms::IndexAnnotations;

use crate::error::Error;

/// All annotations that were asked for.
#[derive(Debug, Default)]
pub struct Annotated {
    all: Vec<Annotation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Annotation {
    places: Vec<(Level, Option<Platform>)>,
    key: String,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Manifest,
    Index,
    ManifestDescriptor,
}

impl FromStr for Annotation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (left, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
        let (places, key) = match left.split_once(':') {
            Some((places, key)) => (places.split(',').map(place).collect::<Result<_, _>>()?, key),
            None => (vec![(Level::Manifest, None)], left),
        };
        if key.is_empty() {
            return Err(format!("{text:?} has no key"));
        }
        Ok(Self { places, key: key.to_owned(), value: value.to_owned() })
    }
}

fn place(text: &str) -> Result<(Level, Option<Platform>), String> {
    let (level, platform) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        Some((level, platform)) => {
            (level, Some(platform.parse().map_err(|error| format!("{platform}: {error}"))?))
        }
        None => (text, None),
    };
    let level = match level {
        "manifest" => Level::Manifest,
        "index" => Level::Index,
        "manifest-descriptor" => Level::ManifestDescriptor,
        "index-descriptor" => {
            return Err(
                "index-descriptor is not done here: the descriptor of an index travels with no image; \
                        annotate the index (index:KEY=VALUE)"
                    .to_owned(),
            );
        }
        other => {
            return Err(format!("{other:?} is not known; it is manifest, index or manifest-descriptor"));
        }
    };
    Ok((level, platform))
}

impl Annotated {
    /// Reads the values of the flag.
    pub fn read(given: &[String], platforms: &[Platform]) -> Result<Self, Error> {
        let read = |text: &String| {
            let annotation = text.parse::<Annotation>();
            annotation.map_err(|reason| Error::usage(format!("--annotation: {reason}")))
        };
        let all: Vec<Annotation> = given.iter().map(read).collect::<Result<_, _>>()?;
        for (level, platform) in all.iter().flat_map(|annotation| &annotation.places) {
            if platforms.len() == 1 && *level != Level::Manifest {
                let message = "--annotation: an image for one platform has no index; only its manifest can be annotated";
                return Err(Error::usage(message));
            }
            if let Some(platform) = platform.as_ref().filter(|platform| !platforms.contains(platform)) {
                return Err(Error::usage(format!("--annotation: the image is not built for {platform}")));
            }
        }
        Ok(Self { all })
    }

    /// Returns the annotations of the manifest for a platform.
    pub fn manifest(&self, platform: &Platform) -> Annotations {
        self.at(Level::Manifest, |of| of.is_none_or(|of| of == platform))
    }

    /// Returns the annotations of the index of `platforms` and of its entries.
    pub fn index(&self, platforms: &[Platform]) -> IndexAnnotations {
        let of = |platform: &Platform| {
            (platform.clone(), self.at(Level::ManifestDescriptor, |of| of.is_none_or(|of| of == platform)))
        };
        let entries: BTreeMap<Platform, Annotations> = platforms.iter().map(of).collect();
        IndexAnnotations { index: self.at(Level::Index, |_| true), entries }
    }

    fn at(&self, level: Level, is_meant: impl Fn(Option<&Platform>) -> bool) -> Annotations {
        let here = |annotation: &&Annotation| {
            annotation.places.iter().any(|(own, platform)| *own == level && is_meant(platform.as_ref()))
        };
        let pair = |annotation: &Annotation| (annotation.key.clone(), annotation.value.clone());
        self.all.iter().filter(here).map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms() -> Vec<Platform> {
        vec!["linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap()]
    }

    fn read(given: &[&str], platforms: &[Platform]) -> Result<Annotated, Error> {
        Annotated::read(&given.iter().map(ToString::to_string).collect::<Vec<_>>(), platforms)
    }

    #[test]
    fn each_level_gets_its_own() {
        let all = platforms();
        let given = ["a=1", "index,manifest[linux/arm64]:b=2=3", "manifest-descriptor:c=4", "manifest:d="];
        let annotated = read(&given, &all).unwrap();
        let keys = |annotations: &Annotations| annotations.keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(keys(&annotated.manifest(&all[0])), "a d");
        assert_eq!(keys(&annotated.manifest(&all[1])), "a b d");
        let index = annotated.index(&all);
        assert_eq!((keys(&index.index), keys(&index.entries[&all[1]])), ("b".to_owned(), "c".to_owned()));
        assert_eq!(index.index["b"], "2=3");
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let all = platforms();
        for (given, words) in [
            ("a", "not KEY=VALUE"),
            ("manifest:=x", "no key"),
            ("image:a=b", "\"image\" is not known"),
            ("index-descriptor:a=b", "index-descriptor is not done"),
            ("manifest[linux/s390x]:a=b", "not built for linux/s390x"),
        ] {
            let error = read(&[given], &all).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(read(&["index:a=b"], &all[..1]).unwrap_err().to_string().contains("no index"));
    }
}
