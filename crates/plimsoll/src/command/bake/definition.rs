//! The files of a definition, and the world that they may ask for.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use oci::Platform;
use pipeline::bake::{self, DEFAULT_FILES, Definition, File, World};

use crate::error::Error;
use crate::session::Session;

/// The largest file that is read, in bytes; what is larger is no definition.
const LARGEST: u64 = 16 << 20;

/// Reads the files named, or those there are by default.
pub(in crate::command) fn read(
    session: &Session,
    named: &[PathBuf],
    given: &[String],
) -> Result<Definition, Error> {
    let files = files(session, named)?;
    let mut values = BTreeMap::new();
    for text in given {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (text.as_str(), session.environment.variables.get(text).cloned().unwrap_or_default()),
        };
        values.insert(name.to_owned(), value);
    }
    let none = BTreeMap::new();
    let folder = session.environment.folder.clone();
    let world = World {
        environment: if asks_environment(session) { &session.environment.variables } else { &none },
        given: &values,
        now: session.environment.now,
        seed: session.environment.seed(),
        home: session.environment.home().map(|home| home.display().to_string()),
        platform: Platform::host().to_string(),
        taken: Default::default(),
        files: &|path: &str| read_small(&folder.join(path)),
    };
    Ok(bake::read(&files, &world)?)
}

/// The neighbour's own switch against the environment leaking into a definition.
fn asks_environment(session: &Session) -> bool {
    let switch = session.environment.variable("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP");
    !switch.is_some_and(|text| matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

fn files(session: &Session, named: &[PathBuf]) -> Result<Vec<File>, Error> {
    let by_variable: Vec<PathBuf> = match session.environment.variable("BUILDX_BAKE_FILE") {
        Some(list) if named.is_empty() => {
            let separator = session.environment.variable("BUILDX_BAKE_PATH_SEPARATOR").unwrap_or(":");
            list.split(separator).map(PathBuf::from).collect()
        }
        _ => named.to_vec(),
    };
    let mut files = Vec::new();
    for path in &by_variable {
        let text = match path.as_os_str() == "-" {
            true => read_standard_input(),
            false => read_small(&session.environment.folder.join(path)),
        };
        let text = text.map_err(|source| Error::file("read", path, source))?;
        files.push(File { name: path.display().to_string(), text });
    }
    if !by_variable.is_empty() {
        return Ok(files);
    }
    for name in DEFAULT_FILES {
        match read_small(&session.environment.folder.join(name)) {
            Ok(text) => files.push(File { name: name.to_owned(), text }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::file("read", Path::new(name), source)),
        }
    }
    match files.is_empty() {
        false => Ok(files),
        true => Err(Error::Usage {
            message: format!("there is no bake or compose file in {}", session.environment.folder.display()),
            hint: Some(format!(
                "name one with -f FILE; by default these are read: {}",
                DEFAULT_FILES.join(", ")
            )),
        }),
    }
}

fn read_small(path: &Path) -> io::Result<String> {
    text(std::fs::File::open(path)?)
}

fn read_standard_input() -> io::Result<String> {
    text(io::stdin().lock())
}

fn text(from: impl io::Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than 16 MiB, which no definition is",
        ));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}
