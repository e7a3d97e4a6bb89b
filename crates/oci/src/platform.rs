//! Platforms. Source: image-spec v1.1, image-index.md, "platform"; normalisation as containerd does it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on, in normal form: `linux/amd64`, `linux/arm64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture in Go's spelling, such as `amd64`.
    pub architecture: String,
    /// Operating system in Go's spelling, such as `linux`.
    pub os: String,
    /// Version of the operating system; used by Windows images only.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features the operating system must have; used by Windows images only.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the architecture, such as `v7` for `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Returns the platform this program was compiled for, with Linux as its system.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self::normal("linux", architecture, None)
    }

    /// Whether an image for `other` is an image for this platform. Variants must agree where both name one.
    pub fn accepts(&self, other: &Self) -> bool {
        let (own, their) = (self.normalized(), other.normalized());
        own.os == their.os
            && own.architecture == their.architecture
            && (own.variant == their.variant || own.variant.is_none() || their.variant.is_none())
    }

    /// Returns the normal form: `aarch64` is `arm64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`.
    pub fn normalized(&self) -> Self {
        let normal = Self::normal(&self.os, &self.architecture, self.variant.as_deref());
        Self { os_version: self.os_version.clone(), os_features: self.os_features.clone(), ..normal }
    }

    fn normal(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os {
            "macos" => "darwin",
            other => other,
        };
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("i386" | "i686", variant) => ("386", variant),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            other => other,
        };
        Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            os_version: None,
            os_features: Vec::new(),
            variant: variant.map(str::to_owned),
        }
    }
}

/// A string is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a platform: expected OS/ARCHITECTURE[/VARIANT], such as linux/arm64")]
pub struct InvalidPlatform {
    /// What was given.
    pub text: String,
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        if !parts.iter().all(word) {
            return Err(InvalidPlatform { text: text.to_owned() });
        }
        match parts[..] {
            [os, architecture] => Ok(Self::normal(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::normal(os, architecture, Some(variant))),
            _ => Err(InvalidPlatform { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected);
    }

    #[test]
    fn normal_forms() {
        check("linux/amd64", "linux/amd64");
        check("linux/x86_64", "linux/amd64");
        check("Linux/aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("linux/arm/v6", "linux/arm/v6");
    }

    #[test]
    fn refuses_other_shapes() {
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/am d64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn accepts_looks_through_spelling() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        assert!(platform("linux/arm64").accepts(&platform("linux/arm64/v8")));
        assert!(!platform("linux/arm/v7").accepts(&platform("linux/arm/v6")));
        assert!(!platform("linux/amd64").accepts(&platform("linux/arm64")));
    }
}
