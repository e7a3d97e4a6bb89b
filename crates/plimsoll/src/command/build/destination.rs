//! Words of `--output`: what kind of result, and where to.

use std::path::PathBuf;
use std::str::FromStr;

use oci::Platform;
use store::ArchiveFormat;

use crate::error::Error;

/// One result that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What it is.
    pub kind: Kind,
    /// `-` is standard output; empty where the kind needs none.
    pub destination: PathBuf,
    /// More names for the image.
    pub names: Vec<String>,
    /// Whether each platform gets a folder of its own; by default where there are several.
    pub platform_split: Option<bool>,
}

/// What a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder of the image's files.
    Local,
    /// A tar of the image's files.
    Tar,
    /// An archive of the image.
    Archive(ArchiveFormat),
    /// A folder in the form of an OCI layout.
    Layout,
    /// The image in the registries of its names.
    Registry,
    /// The image in the container daemon.
    Daemon,
    /// Nothing besides the local store.
    Nothing,
}

/// The fields of an output as they are written.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a str>,
    destination: Option<PathBuf>,
    names: Vec<String>,
    platform_split: Option<bool>,
    push: bool,
    unpacked: bool,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            let kind = if text == "-" { Kind::Tar } else { Kind::Local };
            return Ok(Self { kind, destination: text.into(), names: Vec::new(), platform_split: None });
        }
        let mut fields = Fields::default();
        for field in text.split(',') {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("{field:?} is not KEY=VALUE"))?;
            fields.take(key, value)?;
        }
        fields.output()
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, key: &str, value: &'a str) -> Result<(), String> {
        let yes = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("{key}={value}: it is true or false")),
        };
        match key {
            "type" => self.kind = Some(value),
            "dest" => self.destination = Some(value.into()),
            "name" => self.names.push(value.to_owned()),
            "push" => self.push = yes()?,
            "tar" => self.unpacked = !yes()?,
            "platform-split" => self.platform_split = Some(yes()?),
            "oci-mediatypes" if yes()? => {}
            "rewrite-timestamp" if yes()? => {}
            "compression" | "compression-level" | "force-compression" => {
                return Err(format!("{key} is said by --compression FORMAT[:LEVEL] here"));
            }
            _ if key.starts_with("annotation") => return Err(format!("{key} is said by --annotation here")),
            _ => {
                return Err(format!(
                    "{key}={value} is not known; an output has type, dest, name, push, tar and platform-split"
                ));
            }
        }
        Ok(())
    }

    fn output(self) -> Result<Output, String> {
        let has_place = self.destination.is_some();
        let kind = match self.kind.ok_or("type is missing")? {
            "local" => Kind::Local,
            "tar" => Kind::Tar,
            "oci" if self.unpacked => Kind::Layout,
            "oci" => Kind::Archive(ArchiveFormat::OciArchive),
            "docker" if has_place => Kind::Archive(ArchiveFormat::DockerArchive),
            "docker" => Kind::Daemon,
            "registry" => Kind::Registry,
            "image" if self.push => Kind::Registry,
            "image" | "cacheonly" => Kind::Nothing,
            other => {
                return Err(format!(
                    "type={other} is not done here; it is local, tar, oci, docker, image, registry or cacheonly"
                ));
            }
        };
        let default = match kind {
            Kind::Local | Kind::Layout => None,
            Kind::Tar | Kind::Archive(_) => Some("-".into()),
            Kind::Registry | Kind::Daemon | Kind::Nothing => Some(PathBuf::new()),
        };
        let destination = self.destination.or(default).ok_or("dest is missing")?;
        Ok(Output { kind, destination, names: self.names, platform_split: self.platform_split })
    }
}

impl Output {
    /// Refuses what `platforms` cannot be written as.
    pub fn refuse_impossible(&self, platforms: &[Platform]) -> Result<(), Error> {
        if platforms.len() < 2 {
            return Ok(());
        }
        if self.kind == Kind::Archive(ArchiveFormat::DockerArchive) {
            return Err(Error::Usage {
                message: "an archive for docker load cannot hold the images of several platforms".to_owned(),
                hint: Some("use type=oci, or build for one platform".to_owned()),
            });
        }
        if self.platform_split == Some(false) {
            return Err(Error::usage(
                "platform-split=false is for one platform: files of several would collide",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, kind: Kind, destination: &str) {
        let output = text.parse::<Output>().unwrap();
        assert_eq!((output.kind, output.destination), (kind, PathBuf::from(destination)), "{text}");
    }

    #[test]
    fn outputs_are_folders_tars_archives_and_places() {
        check("out", Kind::Local, "out");
        check("-", Kind::Tar, "-");
        check("type=local,dest=a b", Kind::Local, "a b");
        check("dest=x.tar,type=oci", Kind::Archive(ArchiveFormat::OciArchive), "x.tar");
        check("dest=x,type=oci,tar=false", Kind::Layout, "x");
        check("type=docker,dest=-", Kind::Archive(ArchiveFormat::DockerArchive), "-");
        check("type=docker", Kind::Daemon, "");
        check("type=registry", Kind::Registry, "");
        check("type=image,name=a/b:c,push=true", Kind::Registry, "");
        check("type=image", Kind::Nothing, "");
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (text, words) in [
            ("type=moby", "moby is not done"),
            ("type=local", "dest"),
            ("type=tar,destination=x", "not known"),
            ("type=oci,tar=no", "true or false"),
            ("type=oci,compression=zstd", "--compression"),
            ("type=oci,oci-mediatypes=false", "not known"),
            ("dest=x", "type is missing"),
        ] {
            let error = text.parse::<Output>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn several_platforms_do_not_go_everywhere() {
        let platforms: Vec<Platform> =
            ["linux/amd64", "linux/arm64"].map(|name| name.parse().unwrap()).into();
        let refused = |text: &str| text.parse::<Output>().unwrap().refuse_impossible(&platforms).is_err();
        assert!(refused("type=docker,dest=x") && refused("type=local,dest=x,platform-split=false"));
        assert!(!refused("type=docker") && !refused("type=oci,dest=x") && !refused("type=local,dest=x"));
    }
}
