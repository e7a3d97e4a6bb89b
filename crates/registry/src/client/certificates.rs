//! Certificates for single registries, as Docker and Podman keep them in `certs.d`.
//!
//! | file in `certs.d/HOST[:PORT]/` | is |
//! |---|---|
//! | `*.crt` | authorities that are trusted for this registry, besides all others |
//! | `NAME.cert` with `NAME.key` | who we are to this registry; the first pair by name |
//!
//! Source: containers-certs.d(5); Docker's manual, "Use custom certificates".

use std::fs;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::connector::TlsError;
use super::route::SiteCertificates;

/// What is kept for one registry.
#[derive(Debug, Default)]
pub(crate) struct HostCertificates {
    pub authorities: Vec<CertificateDer<'static>>,
    pub identity: Option<Identity>,
    /// Whether whatever certificate the registry has is taken.
    pub unverified: bool,
}

/// A certificate with those that vouch for it, and its key.
#[derive(Debug)]
pub(crate) struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// Where the certificate lies.
    pub path: PathBuf,
}

/// Returns what the first of `folders` that knows the host keeps for it; `None` where none does.
pub(crate) fn for_host(folders: &[PathBuf], host: &str) -> Result<Option<HostCertificates>, TlsError> {
    // An authority of an address has no slash, and one of dots alone is no host.
    if host.is_empty() || host.contains('/') || host.chars().all(|c| c == '.') {
        return Ok(None);
    }
    for folder in folders {
        let mut files: Vec<PathBuf> = match fs::read_dir(folder.join(host)) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(_) => continue,
        };
        files.sort();
        let mut found = HostCertificates::default();
        for path in files {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => found.authorities.extend(certificates(&path)?),
                Some("cert") if found.identity.is_none() => found.identity = Some(identity(&path)?),
                _ => {}
            }
        }
        return Ok(Some(found));
    }
    Ok(None)
}

/// Returns these with what a file about the host names besides. Its identity comes before that of the folder.
pub(crate) fn with_site(
    mut found: HostCertificates,
    site: &SiteCertificates,
) -> Result<HostCertificates, TlsError> {
    for path in &site.authorities {
        found.authorities.extend(certificates(path)?);
    }
    if let Some((certificate, key)) = &site.identity {
        found.identity = Some(identity_of(certificate, key)?);
    }
    found.unverified = site.unverified;
    Ok(found)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Bundle { path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if found.is_empty() { Err(TlsError::Empty { path: path.to_owned() }) } else { Ok(found) }
}

fn identity(path: &Path) -> Result<Identity, TlsError> {
    identity_of(path, &path.with_extension("key"))
}

fn identity_of(path: &Path, key_path: &Path) -> Result<Identity, TlsError> {
    let chain = certificates(path)?;
    let key = PrivateKeyDer::from_pem_file(key_path)
        .map_err(|source| TlsError::Bundle { path: key_path.to_owned(), source })?;
    Ok(Identity { chain, key, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_a_folder_have_none() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned()];
        for host in ["", "..", "a/b", "registry.test:5000"] {
            assert!(for_host(&folders, host).unwrap().is_none(), "{host}");
        }
        fs::create_dir(folder.path().join("registry.test:5000")).unwrap();
        assert!(for_host(&folders, "registry.test:5000").unwrap().is_some());
    }

    #[test]
    fn a_certificate_without_its_key_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("h");
        fs::create_dir(&host).unwrap();
        fs::write(host.join("client.cert"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
        let error = for_host(&[folder.path().to_owned()], "h").unwrap_err();
        assert!(error.to_string().contains("client.key"), "{error}");
        fs::write(host.join("ca.crt"), "nothing").unwrap();
        let error = for_host(&[folder.path().to_owned()], "h").unwrap_err();
        assert!(error.to_string().contains("ca.crt"), "{error}");
    }
}
