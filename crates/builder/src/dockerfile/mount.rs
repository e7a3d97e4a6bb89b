//! `--mount` of RUN.
//!
//! The value is a line of comma-separated `key=value` fields. All but `from` may hold variables, so a
//! mount is read in full when RUN is run; what holds no variable is checked by the parser already.
//!
//! Source: the Dockerfile reference, "RUN --mount".

mod value;

use value::{boolean, bytes, fields, number, one_of};

use super::error::suggestion;
use super::source::Word;

/// `--mount=...` as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// The text after `--mount=`.
    pub value: Word,
}

/// A mount that a RUN sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// Where it appears; `None` where a secret or an agent has its standing place.
    pub target: Option<String>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A folder or file of a stage, an image, or the context (`from` is `None`).
    Bind {
        /// The stage or image.
        from: Option<String>,
        /// The path in it; `None` is its root.
        source: Option<String>,
        /// Whether the step may write; what it writes is dropped.
        writable: bool,
    },
    /// A folder that outlives the build.
    Cache {
        /// Its name; `None` is the target.
        id: Option<String>,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// What it is filled from at first.
        from: Option<String>,
        /// The path in `from`.
        source: Option<String>,
        /// Whether the step may not write.
        read_only: bool,
        /// Owner and mode of a new folder.
        access: Access,
    },
    /// Memory.
    Tmpfs {
        /// Most bytes it may hold; `None` is the system's choice.
        size: Option<u64>,
    },
    /// A secret, as a file, in a variable, or both.
    Secret {
        /// Its name.
        id: String,
        /// The variable that holds it.
        env: Option<String>,
        /// Whether the step fails without it.
        required: bool,
        /// Owner and mode of the file.
        access: Access,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Its name; `None` is `default`.
        id: Option<String>,
        /// Whether the step fails without it.
        required: bool,
        /// Owner and mode of the socket.
        access: Access,
    },
}

/// Who may use a cache mount at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everyone.
    #[default]
    Shared,
    /// A second user gets a folder of its own.
    Private,
    /// A second user waits.
    Locked,
}

/// Owner and mode; what is `None` has a standing value per kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner's number.
    pub uid: Option<u32>,
    /// Group's number.
    pub gid: Option<u32>,
}

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

impl MountFlag {
    /// Returns the stage or image that is mounted from, which no variable may name.
    ///
    /// # Errors
    /// As [`Mount::parse`] for the list itself, and for a variable in `from`.
    pub fn from(&self) -> Result<Option<String>, String> {
        let fields = fields(&self.value.text)?;
        let from = fields.iter().filter_map(|field| field.split_once('=')).rfind(|(key, _)| is(key, "from"));
        match from {
            Some((_, value)) if value.contains('$') => {
                Err("from takes no variables; name a stage with FROM ... AS and mount from that".to_owned())
            }
            Some((_, value)) if !value.is_empty() => Ok(Some(value.to_owned())),
            _ => Ok(None),
        }
    }

    /// Reads the mount; `expand` is applied to every value.
    ///
    /// # Errors
    /// As [`Mount::parse`], and what `expand` says.
    pub fn parse(&self, expand: &dyn Fn(&str) -> Result<String, String>) -> Result<Mount, String> {
        let mut expanded = Vec::new();
        for field in fields(&self.value.text)? {
            expanded.push(match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(expand(value)?)),
                None => (field.to_ascii_lowercase(), None),
            });
        }
        Fields::read(expanded)?.mount()
    }

    /// Checks what can be checked without variables.
    pub(super) fn check(&self) -> Result<(), String> {
        self.from()?;
        if self.value.text.contains('$') { Ok(()) } else { self.parse(&|text| Ok(text.to_owned())).map(drop) }
    }
}

impl Mount {
    /// Reads the text after `--mount=`, without variables.
    ///
    /// # Errors
    /// An unknown key, type or value; a key that does not go with the type; a target that is missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let flag = MountFlag { value: Word { text: text.to_owned(), ..Word::default() } };
        flag.parse(&|text| Ok(text.to_owned()))
    }
}

fn is(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name)
}

/// The fields by their long names, each read but not yet held against the type.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    from: Option<String>,
    source: Option<String>,
    target: Option<String>,
    id: Option<String>,
    env: Option<String>,
    sharing: Option<Sharing>,
    read_only: Option<bool>,
    required: Option<bool>,
    size: Option<u64>,
    access: Access,
}

impl Fields {
    fn read(fields: Vec<(String, Option<String>)>) -> Result<Self, String> {
        let mut read = Self::default();
        for (key, value) in fields {
            read.set(&key, value)?;
        }
        Ok(read)
    }

    fn set(&mut self, key: &str, value: Option<String>) -> Result<(), String> {
        let switch = matches!(key, "readonly" | "ro" | "readwrite" | "rw" | "required");
        let Some(value) = value.or_else(|| switch.then(|| "true".to_owned())) else {
            return Err(unknown_key(key, "must be KEY=VALUE"));
        };
        match key {
            "type" => self.kind = Some(one_of("type", &value, &TYPES)?),
            "from" => self.from = Some(value),
            "source" | "src" => self.source = Some(value),
            "target" | "dst" | "destination" => self.target = Some(value),
            "id" => self.id = Some(value),
            "env" => self.env = Some(value),
            "readonly" | "ro" => self.read_only = Some(boolean(key, &value)?),
            "readwrite" | "rw" => self.read_only = Some(!boolean(key, &value)?),
            "required" => self.required = Some(boolean(key, &value)?),
            "size" => self.size = Some(bytes(&value)?),
            "mode" => self.access.mode = Some(number(key, &value, 8)?),
            "uid" => self.access.uid = Some(number(key, &value, 10)?),
            "gid" => self.access.gid = Some(number(key, &value, 10)?),
            "sharing" => {
                self.sharing = Some(match &one_of("sharing", &value, &SHARINGS)?[..] {
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => Sharing::Shared,
                });
            }
            _ => return Err(unknown_key(key, "is not known")),
        }
        Ok(())
    }

    fn mount(self) -> Result<Mount, String> {
        let kind = self.kind.clone().unwrap_or_else(|| "bind".to_owned());
        self.check_keys(&kind)?;
        let target = self.target.filter(|target| !target.is_empty());
        let id = self.id.filter(|id| !id.is_empty());
        let from = self.from.filter(|from| !from.is_empty());
        let kind = match &kind[..] {
            "cache" => MountKind::Cache {
                id,
                sharing: self.sharing.unwrap_or_default(),
                from,
                source: self.source,
                read_only: self.read_only.unwrap_or(false),
                access: self.access,
            },
            "tmpfs" => MountKind::Tmpfs { size: self.size },
            "secret" => MountKind::Secret {
                id: secret_id(id, self.source, target.as_deref())?,
                env: self.env,
                required: self.required.unwrap_or(false),
                access: self.access,
            },
            "ssh" => MountKind::Ssh { id, required: self.required.unwrap_or(false), access: self.access },
            _ => MountKind::Bind { from, source: self.source, writable: self.read_only == Some(false) },
        };
        if target.is_none() && !matches!(kind, MountKind::Secret { .. } | MountKind::Ssh { .. }) {
            return Err("target is missing: say where the mount appears with target=PATH".to_owned());
        }
        Ok(Mount { kind, target })
    }

    /// Refuses keys that mean nothing for the type.
    fn check_keys(&self, kind: &str) -> Result<(), String> {
        let access = ["cache", "secret", "ssh"];
        let given = [
            ("from", self.from.is_some(), &["bind", "cache", "tmpfs", "ssh"][..]),
            ("sharing", self.sharing.is_some(), &["cache"]),
            ("required", self.required.is_some(), &["secret", "ssh"]),
            ("size", self.size.is_some(), &["tmpfs"]),
            ("env", self.env.is_some(), &["secret"]),
            ("mode", self.access.mode.is_some(), &access),
            ("uid", self.access.uid.is_some(), &access),
            ("gid", self.access.gid.is_some(), &access),
        ];
        match given.iter().find(|(_, given, kinds)| *given && !kinds.contains(&kind)) {
            Some((key, ..)) => Err(format!("{key} does not go with type={kind}")),
            None => Ok(()),
        }
    }
}

/// A secret goes by its id, which may be given as `source`, or by the last part of its target.
fn secret_id(id: Option<String>, source: Option<String>, target: Option<&str>) -> Result<String, String> {
    match (id, source.filter(|source| !source.is_empty()), target) {
        (Some(_), Some(_), _) => Err("id and source name the same thing; give one of them".to_owned()),
        (Some(id), None, _) | (None, Some(id), _) => Ok(id),
        (None, None, Some(target)) => {
            Ok(target.trim_end_matches('/').rsplit('/').next().unwrap_or(target).to_owned())
        }
        (None, None, None) => Err("id is missing: name the secret with id=NAME".to_owned()),
    }
}

fn unknown_key(key: &str, what: &str) -> String {
    match suggestion(key, &KEYS) {
        Some(near) if near != key => format!("{key:?} {what}; did you mean {near}?"),
        _ => format!("{key:?} {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(format!("{:?}", Mount::parse(text).unwrap()), expected);
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = Mount::parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }

    #[test]
    fn kinds_and_their_defaults() {
        let kind = |text: &str| Mount::parse(text).unwrap().kind;
        let bind = MountKind::Bind { from: None, source: None, writable: false };
        assert_eq!(kind("target=/x"), bind);
        assert_eq!(kind("type=bind,dst=/x,ro"), bind);
        assert_eq!(kind("type=bind,dst=/x,rw=false"), bind);
        assert_eq!(kind("TYPE=Tmpfs,target=/x,size=64m"), MountKind::Tmpfs { size: Some(64 << 20) });
        check(
            "type=bind,from=base,source=/a,target=/b,rw",
            r#"Mount { kind: Bind { from: Some("base"), source: Some("/a"), writable: true }, target: Some("/b") }"#,
        );
        check(
            "type=cache,id=apt,target=/var/cache/apt,sharing=locked,mode=0755,uid=1,gid=2",
            r#"Mount { kind: Cache { id: Some("apt"), sharing: Locked, from: None, source: None, read_only: false, access: Access { mode: Some(493), uid: Some(1), gid: Some(2) } }, target: Some("/var/cache/apt") }"#,
        );
        check(
            "type=secret,target=/run/x/token,required",
            r#"Mount { kind: Secret { id: "token", env: None, required: true, access: Access { mode: None, uid: None, gid: None } }, target: Some("/run/x/token") }"#,
        );
        check(
            "type=ssh",
            r#"Mount { kind: Ssh { id: None, required: false, access: Access { mode: None, uid: None, gid: None } }, target: None }"#,
        );
    }

    #[test]
    fn quoted_fields_hold_commas() {
        let target = |text: &str| Mount::parse(text).unwrap().target.unwrap();
        assert_eq!(target("type=tmpfs,\"target=/a,b\""), "/a,b");
        assert_eq!(target("\"target=/a\"\"b\",type=tmpfs"), "/a\"b");
        assert_eq!(target("type=tmpfs,target=/a,"), "/a");
    }

    #[test]
    fn what_is_refused() {
        check_refused("type=cach,target=/x", "did you mean cache?");
        check_refused("type=cache", "target is missing");
        check_refused("type=bind,taget=/x", "did you mean target?");
        check_refused("target", "must be KEY=VALUE");
        check_refused("type=tmpfs,target=/x,sharing=shared", "sharing does not go with type=tmpfs");
        check_refused("type=bind,target=/x,mode=0755", "mode does not go with type=bind");
        check_refused("type=secret", "id is missing");
        check_refused("type=secret,id=a,source=b", "give one of them");
        check_refused("type=secret,id=a,from=b", "from does not go with");
        check_refused("type=cache,target=/x,sharing=some", "is not one of shared");
        check_refused("type=cache,target=/x,ro=maybe", "neither true nor false");
        check_refused("type=cache,target=/x,mode=999", "base 8");
        check_refused("type=cache,target=/x,uid=+1", "base 10");
        check_refused("\"type=cache", "closing double quote");
        check_refused("", "empty");
    }

    #[test]
    fn variables_wait_for_the_step_but_not_in_from() {
        let flag = |text: &str| MountFlag { value: Word { text: text.to_owned(), ..Word::default() } };
        assert!(flag("type=cache,target=$DIR,id=$X").check().is_ok());
        assert!(flag("type=bind,from=$BASE,target=/x").check().unwrap_err().contains("no variables"));
        assert_eq!(flag("from=a,target=$X").from(), Ok(Some("a".to_owned())));
        let mount = flag("type=tmpfs,target=$X").parse(&|text| Ok(text.replace("$X", "/y"))).unwrap();
        assert_eq!(mount.target.as_deref(), Some("/y"));
    }
}
