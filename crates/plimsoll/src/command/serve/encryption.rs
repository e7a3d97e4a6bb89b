//! The certificate that `serve registry` shows.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use pipeline::configuration::{OneOrMany, ServeRegistry};
use registry::server::{SelfSigned, Tls};

use super::watch::{Files, Watched};
use crate::error::Error;
use crate::session::Session;

/// Where the certificate comes from.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Encryption")]
pub struct Encryption {
    /// Speaks HTTPS with the certificates in this PEM file
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// The key of the first certificate, as PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Speaks HTTPS with a certificate of its own making for this name or address; may be repeated
    #[arg(long, value_name = "NAME")]
    tls_self_signed: Vec<String>,
}

impl Encryption {
    /// Puts the flags into the settings.
    pub fn put(&self, settings: &mut ServeRegistry) {
        settings.tls_certificate = self.tls_certificate.clone();
        settings.tls_key = self.tls_key.clone();
        settings.tls_self_signed = OneOrMany(self.tls_self_signed.clone());
    }
}

/// Returns the certificate and adds its files to `files`; `None` for plain HTTP.
///
/// # Errors
/// A file cannot be read, or has no usable certificate.
pub fn certificate(
    session: &Session,
    settings: &ServeRegistry,
    files: &mut Files,
) -> Result<Option<Tls>, Error> {
    if let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) {
        let folder = &session.environment.folder;
        return read(&folder.join(certificate), &folder.join(key), files).map(Some);
    }
    if settings.tls_self_signed.is_empty() {
        return Ok(None);
    }
    let folder = session.root()?.join("registry");
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let names = folder.join("names");
    let wanted = settings.tls_self_signed.join("\n");
    if fs::read_to_string(&names).ok().as_deref() != Some(&wanted) || !key.exists() {
        let made = SelfSigned::new(&settings.tls_self_signed, (session.environment.now())());
        let made = made.map_err(|error| Error::usage(error.to_string()))?;
        fs::create_dir_all(&folder).map_err(|source| Error::file("make the folder", &folder, source))?;
        write(&key, made.key.as_bytes(), 0o600)?;
        write(&certificate, made.certificate.as_bytes(), 0o644)?;
        write(&names, wanted.as_bytes(), 0o644)?;
    }
    let tls = read(&certificate, &key, &mut Files::default())?;
    session.ui.note(format!("certificate {}, SHA-256 {}", certificate.display(), tls.fingerprint()));
    Ok(Some(tls))
}

/// Shows what is put in the place of the certificate, as whoever renews it does.
pub fn watched<'a>(
    session: &'a Session,
    settings: &'a ServeRegistry,
    files: Files,
    shown: Tls,
) -> Watched<'a> {
    Watched::new(files, move || {
        let mut files = Files::default();
        if let Some(renewed) = certificate(session, settings, &mut files)? {
            shown.renew(&renewed);
        }
        Ok(files)
    })
}

fn read(certificate: &Path, key: &Path, files: &mut Files) -> Result<Tls, Error> {
    let (chain, secret) = (files.read(certificate)?, files.read(key)?);
    let tls = Tls::from_pem(&chain, &secret);
    tls.map_err(|error| {
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Error::usage(format!("{} and {}: {error}{source}", certificate.display(), key.display()))
    })
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let failed = |source| Error::file("write", path, source);
    let _ = fs::remove_file(path);
    let file = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(content)).map_err(failed)
}
