//! What a build may use and do besides what every build needs, as flags; the names are buildx's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use builder::sandbox::{NamedLimit, Network};
use builder::{BuildOptions, NamedContext, Secret};
use clap::ValueEnum;

use super::context::is_elsewhere;
use super::limits::ShmSize;
use crate::env::Environment;
use crate::error::Error;

/// Secrets, agents, network, entitlements.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Secret for RUN --mount=type=secret: id=NAME,src=FILE or id=NAME,env=VARIABLE
    #[arg(long, value_name = "SECRET")]
    secret: Vec<SecretFlag>,
    /// SSH agent for RUN --mount=type=ssh: NAME[=SOCKET] [default socket: $SSH_AUTH_SOCK]
    #[arg(long, value_name = "AGENT")]
    ssh: Vec<String>,
    /// Network of RUN steps that say none
    #[arg(long, value_name = "NETWORK")]
    network: Option<NetworkFlag>,
    /// One more line for /etc/hosts of RUN steps
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<HostFlag>,
    /// Size of the /dev/shm of RUN steps, such as 128m
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<ShmSize>,
    /// Limit of the processes of RUN steps: NAME=SOFT[:HARD]; -1 is none
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<NamedLimit>,
    /// Allows what is refused otherwise
    #[arg(long, value_name = "ENTITLEMENT")]
    allow: Vec<Entitlement>,
    /// Puts a folder or an image in the place of an image: NAME=FOLDER, NAME=docker-image://REF, NAME=oci-layout://DIR
    #[arg(long, value_name = "NAME=CONTEXT")]
    build_context: Vec<ContextFlag>,
    /// Stages whose steps run even where their results are known
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NetworkFlag {
    /// This machine's
    Default,
    /// This machine's
    Host,
    /// Loopback only
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Entitlement {
    /// RUN --security=insecure
    #[value(name = "security.insecure")]
    SecurityInsecure,
    /// RUN --network=host, which needs no leave here
    #[value(name = "network.host")]
    NetworkHost,
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostFlag(IpAddr, String);

impl FromStr for HostFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) =
            text.split_once('=').or_else(|| text.split_once(':')).ok_or("it is NAME:ADDRESS")?;
        let address = address.trim_matches(['[', ']']);
        let address = address.parse().map_err(|_| format!("{address:?} is not an address"))?;
        Ok(Self(address, name.to_owned()))
    }
}

/// `NAME=` and what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ContextFlag(String, ContextPlace);

#[derive(Clone, Debug, PartialEq, Eq)]
enum ContextPlace {
    Here(NamedContext),
    /// The address of a git repository or of an archive.
    Elsewhere(String),
}

impl FromStr for ContextFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) =
            text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("it is NAME=CONTEXT")?;
        if is_elsewhere(value) && value != "-" {
            return Ok(Self(name.to_owned(), ContextPlace::Elsewhere(value.to_owned())));
        }
        let context = match value.split_once("://") {
            Some(("docker-image", image)) => NamedContext::Image(image.to_owned()),
            Some(("oci-layout", folder)) => NamedContext::Image(format!("oci:{folder}")),
            Some((other, _)) => {
                return Err(format!(
                    "{other}:// is not done here; it is a folder, docker-image://, oci-layout://, the address of a repository or of an archive"
                ));
            }
            None => NamedContext::Folder(value.into()),
        };
        Ok(Self(name.to_owned(), ContextPlace::Here(context)))
    }
}

/// `id=NAME` and where the value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SecretFlag {
    id: String,
    from: SecretPlace,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SecretPlace {
    File(PathBuf),
    Variable(String),
    /// The variable of the secret's name, else the file of that name.
    Either,
}

impl FromStr for SecretFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut id, mut source, mut variable, mut kind) = (None, None, None, None);
        for field in text.split(',') {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("{field:?} is not KEY=VALUE"))?;
            match key {
                "id" => id = Some(value.to_owned()),
                "src" | "source" => source = Some(value.to_owned()),
                "env" => variable = Some(value.to_owned()),
                "type" if value == "file" || value == "env" => kind = Some(value.to_owned()),
                "type" => return Err(format!("type={value} is not known; it is file or env")),
                _ => return Err(format!("{key:?} is not known; a secret has id, src, env and type")),
            }
        }
        let id = id.filter(|id| !id.is_empty()).ok_or("id is missing")?;
        let from = match (source, variable, kind.as_deref()) {
            (Some(_), Some(_), _) => return Err("src and env exclude each other".to_owned()),
            (None, Some(variable), _) => SecretPlace::Variable(variable),
            (Some(source), None, Some("env")) => SecretPlace::Variable(source),
            (Some(source), None, _) => SecretPlace::File(source.into()),
            (None, None, Some("env")) => SecretPlace::Variable(id.clone()),
            (None, None, Some(_)) => SecretPlace::File(id.clone().into()),
            (None, None, None) => SecretPlace::Either,
        };
        Ok(Self { id, from })
    }
}

impl SecretFlag {
    fn value(&self, environment: &Environment) -> Result<Secret, Error> {
        let variable = |name: &str| environment.variables.get(name);
        match &self.from {
            SecretPlace::Variable(name) => match variable(name) {
                Some(value) => Ok(Secret::new(value.as_bytes())),
                None => Err(Error::usage(format!("the secret {}: ${name} is not set", self.id))),
            },
            SecretPlace::Either => match variable(&self.id) {
                Some(value) => Ok(Secret::new(value.as_bytes())),
                None => self.file(environment, Path::new(&self.id)),
            },
            SecretPlace::File(path) => self.file(environment, path),
        }
    }

    fn file(&self, environment: &Environment, path: &Path) -> Result<Secret, Error> {
        const MOST_BYTES: u64 = 500 << 10;
        let path = environment.folder.join(path);
        let failed = |source| Error::file("read the secret", &path, source);
        if std::fs::metadata(&path).map_err(failed)?.len() > MOST_BYTES {
            return Err(Error::usage(format!("the secret {} is larger than {MOST_BYTES} bytes", self.id)));
        }
        Ok(Secret::new(std::fs::read(&path).map_err(failed)?))
    }
}

impl ContextFlag {
    fn read(&self, environment: &Environment) -> Option<(String, NamedContext)> {
        let context = match &self.1 {
            ContextPlace::Here(NamedContext::Folder(path)) => {
                NamedContext::Folder(environment.folder.join(path))
            }
            ContextPlace::Here(image @ NamedContext::Image(_)) => image.clone(),
            ContextPlace::Elsewhere(_) => return None,
        };
        Some((self.0.clone(), context))
    }
}

impl Options {
    /// Returns what the flags say, secrets read.
    pub fn read(&self, environment: &Environment) -> Result<BuildOptions, Error> {
        let secret = |flag: &SecretFlag| Ok((flag.id.clone(), flag.value(environment)?));
        Ok(BuildOptions {
            secrets: self.secret.iter().map(secret).collect::<Result<_, Error>>()?,
            ssh: self.agents(environment)?,
            network: match self.network {
                Some(NetworkFlag::None) => Network::None,
                _ => Network::Host,
            },
            hosts: self.add_host.iter().map(|host| (host.0, host.1.clone())).collect(),
            insecure: self.allow.contains(&Entitlement::SecurityInsecure),
            contexts: self.build_context.iter().filter_map(|flag| flag.read(environment)).collect(),
            no_cache_filter: self.no_cache_filter.clone(),
            shared_memory: self.shm_size.map(|size| size.0),
            limits: self.ulimit.clone(),
            ..BuildOptions::default()
        })
    }

    /// Returns the named contexts that have to be fetched, by name, with their addresses.
    pub fn contexts_elsewhere(&self) -> impl Iterator<Item = (&str, &str)> {
        self.build_context.iter().filter_map(|flag| match &flag.1 {
            ContextPlace::Elsewhere(address) => Some((flag.0.as_str(), address.as_str())),
            ContextPlace::Here(_) => None,
        })
    }

    fn agents(&self, environment: &Environment) -> Result<BTreeMap<String, PathBuf>, Error> {
        let mut agents = BTreeMap::new();
        for flag in &self.ssh {
            let (id, socket) = match flag.split_once('=') {
                Some((id, socket)) => (id, Some(environment.folder.join(socket))),
                None => (&flag[..], environment.variable("SSH_AUTH_SOCK").map(PathBuf::from)),
            };
            let Some(socket) = socket else {
                let message = format!("--ssh {id}: $SSH_AUTH_SOCK is not set; write --ssh {id}=SOCKET");
                return Err(Error::usage(message));
            };
            if socket.is_file() {
                let message = format!(
                    "--ssh {id}: {} is a key and no agent's socket; start an agent (ssh-agent), give it the key \
                     (ssh-add) and write --ssh {id}",
                    socket.display()
                );
                return Err(Error::usage(message));
            }
            agents.insert(id.to_owned(), socket);
        }
        Ok(agents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, SecretPlace), &str>) {
        let found = text.parse::<SecretFlag>();
        match expected {
            Ok((id, from)) => assert_eq!(found, Ok(SecretFlag { id: id.to_owned(), from })),
            Err(words) => assert!(found.clone().unwrap_err().contains(words), "{found:?}"),
        }
    }

    #[test]
    fn secrets_say_where_they_come_from() {
        let variable = |name: &str| SecretPlace::Variable(name.to_owned());
        check("id=npm,src=token", Ok(("npm", SecretPlace::File("token".into()))));
        check("type=file,id=npm,source=/x", Ok(("npm", SecretPlace::File("/x".into()))));
        check("id=npm,env=TOKEN", Ok(("npm", variable("TOKEN"))));
        check("type=env,id=npm", Ok(("npm", variable("npm"))));
        check("id=npm", Ok(("npm", SecretPlace::Either)));
        check("src=token", Err("id is missing"));
        check("id=a,src=b,env=c", Err("exclude"));
        check("id=a,scr=b", Err("\"scr\" is not known"));
        check("npm", Err("not KEY=VALUE"));
        check("type=vault,id=a", Err("type=vault"));
    }

    #[test]
    fn contexts_are_folders_or_images() {
        let context = |text: &str| text.parse::<ContextFlag>().map(|flag| flag.1);
        let image = |name: &str| Ok(ContextPlace::Here(NamedContext::Image(name.to_owned())));
        assert_eq!(context("a=../b"), Ok(ContextPlace::Here(NamedContext::Folder("../b".into()))));
        let repository = "https://h/r.git#main:x";
        assert_eq!(context(&format!("a={repository}")), Ok(ContextPlace::Elsewhere(repository.to_owned())));
        assert_eq!(context("a=docker-image://local/b:1"), image("local/b:1"));
        assert_eq!(context("a=oci-layout:///b:1"), image("oci:/b:1"));
        assert!(context("a=ftp://b").is_err() && context("a").is_err() && context("=b").is_err());
    }

    #[test]
    fn hosts_have_a_name_and_an_address() {
        let host = |text: &str| text.parse::<HostFlag>();
        assert_eq!(host("a:10.0.0.1"), Ok(HostFlag([10, 0, 0, 1].into(), "a".to_owned())));
        assert_eq!(host("a=::1"), host("a:[::1]"));
        assert!(host("a").is_err() && host("a:b").is_err());
    }
}
