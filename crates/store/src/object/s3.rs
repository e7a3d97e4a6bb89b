//! Which bucket, and as whom: `s3:BUCKET/PREFIX?region=...&endpoint=...` and what the environment and the
//! files of the AWS tools say. Reading those is the program's; here they are values.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use opendal::{HttpTransporter, OperationContext, Operator};

use super::Bucket;
use crate::StoreError;

/// The region that servers other than Amazon's take where none is said.
const ANY_REGION: &str = "us-east-1";

/// A bucket, or a part of it under a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Place {
    /// The bucket's name.
    pub bucket: String,
    /// What all keys begin with; without slashes at its ends, may be empty.
    pub prefix: String,
    /// The region; the settings' where it is not said.
    pub region: Option<String>,
    /// The server's address; the settings', or Amazon's, where it is not said.
    pub endpoint: Option<String>,
    /// Which profile of the files is used.
    pub profile: Option<String>,
    /// Whether requests are not signed.
    pub anonymous: bool,
    /// Whether the bucket is part of the host's name instead of the path.
    pub virtual_host: Option<bool>,
}

/// A string names no bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no bucket: {reason}; write s3:BUCKET/PREFIX?region=REGION&endpoint=ADDRESS")]
pub struct InvalidS3Place {
    /// What was given, cut at 100 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FromStr for S3Place {
    type Err = InvalidS3Place;

    fn from_str(text: &str) -> Result<Self, InvalidS3Place> {
        let invalid = |reason: String| InvalidS3Place { text: text.chars().take(100).collect(), reason };
        let rest = text.strip_prefix("s3:").unwrap_or(text);
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        if !is_bucket(bucket) {
            let reason = "a bucket has 3 to 63 lower-case letters, digits, dots and hyphens";
            return Err(invalid(reason.to_owned()));
        }
        let prefix = prefix.trim_matches('/');
        if prefix.split('/').any(|part| part == "." || part == "..") || prefix.contains("//") {
            return Err(invalid("the prefix has an empty part, . or ..".to_owned()));
        }
        let mut place = Self { bucket: bucket.to_owned(), prefix: prefix.to_owned(), ..Self::default() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            place.set(key, value).map_err(invalid)?;
        }
        Ok(place)
    }
}

impl S3Place {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let text = || match value {
            "" => Err(format!("{key} has no value")),
            value => Ok(Some(value.to_owned())),
        };
        let truth = || value.parse::<bool>().map_err(|_| format!("{key} is neither true nor false"));
        match key {
            "region" => self.region = text()?,
            "profile" => self.profile = text()?,
            "endpoint" => {
                self.endpoint = text()?;
                if !value.starts_with("https://") && !value.starts_with("http://") {
                    return Err("endpoint is not an address that begins with https:// or http://".to_owned());
                }
            }
            "anonymous" => self.anonymous = truth()?,
            "virtual-host" => self.virtual_host = Some(truth()?),
            _ => {
                let known = "region, endpoint, profile, anonymous, virtual-host";
                return Err(format!("{key:?} is not known; {known} are"));
            }
        }
        Ok(())
    }

    /// Returns the bucket, reached with `transport` and as `settings` say. Nothing is asked of it yet.
    ///
    /// # Errors
    /// There are no credentials or no region.
    pub fn open(&self, settings: &S3Settings, transport: HttpTransporter) -> Result<Bucket, NoCredentials> {
        let mut service = opendal::services::S3::default()
            .bucket(&self.bucket)
            .root(&format!("/{}", self.prefix))
            // Nothing is looked up behind our back: not the environment, no file, no metadata service.
            .disable_config_load()
            .disable_ec2_metadata();
        let endpoint = self.endpoint.as_ref().or(settings.endpoint.as_ref());
        if let Some(endpoint) = endpoint {
            service = service.endpoint(endpoint);
        } else {
            service = service.endpoint("https://s3.amazonaws.com");
        }
        if self.virtual_host.unwrap_or(endpoint.is_none() && !self.bucket.contains('.')) {
            service = service.enable_virtual_host_style();
        }
        let region = self.region.as_deref().or(settings.region.as_deref());
        let region = region.or(endpoint.map(|_| ANY_REGION));
        let region = region.ok_or_else(|| NoCredentials::Region { place: self.to_string() })?;
        service = service.region(region);
        service = match (&settings.credentials, self.anonymous) {
            (_, true) => service.skip_signature(),
            (Some(credentials), false) => {
                let service = service.access_key_id(&credentials.key).secret_access_key(&credentials.secret);
                match &credentials.session {
                    Some(token) => service.session_token(token),
                    None => service,
                }
            }
            (None, false) => return Err(NoCredentials::Keys { place: self.to_string() }),
        };
        let operator = Operator::new(service).map_err(|error| NoCredentials::Settings {
            place: self.to_string(),
            reason: error.message().to_owned(),
        })?;
        let context = OperationContext::new().with_http_transport(transport);
        Ok(Bucket::new(operator.with_context(context), self.to_string()))
    }
}

impl fmt::Display for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)
    }
}

fn is_bucket(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    (3..=63).contains(&name.len()) && name.bytes().all(is_part)
}

/// The keys that sign requests. It prints only the one that is no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// The access key's name.
    pub key: String,
    /// The secret key.
    pub secret: String,
    /// What goes along with keys that end soon.
    pub session: Option<String>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Credentials({})", self.key)
    }
}

/// What the environment and the files of the AWS tools say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// Who we are.
    pub credentials: Option<S3Credentials>,
    /// The region.
    pub region: Option<String>,
    /// The server's address.
    pub endpoint: Option<String>,
}

/// Why a bucket cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCredentials {
    /// Nobody said who we are.
    #[error(
        "there are no credentials for {place}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile of ~/.aws/credentials with ?profile=NAME, or say ?anonymous=true; roles of machines are not asked for"
    )]
    Keys {
        /// Which bucket.
        place: String,
    },
    /// Nobody said where it is.
    #[error("the region of {place} is not known: add ?region=NAME or set AWS_REGION")]
    Region {
        /// Which bucket.
        place: String,
    },
    /// What was said does not fit.
    #[error("{place} cannot be used: {reason}")]
    Settings {
        /// Which bucket.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

impl From<NoCredentials> for StoreError {
    fn from(error: NoCredentials) -> Self {
        let (NoCredentials::Keys { place }
        | NoCredentials::Region { place }
        | NoCredentials::Settings { place, .. }) = &error;
        Self::Denied { what: place.clone(), reason: error.to_string() }
    }
}

impl S3Settings {
    /// Returns what the variables say, and where they say nothing, what the profile of the files
    /// does: `credentials` and `configuration` are the texts of `~/.aws/credentials` and
    /// `~/.aws/config`, empty where there are none.
    pub fn read(
        variable: &dyn Fn(&str) -> Option<String>,
        credentials: &str,
        configuration: &str,
        profile: Option<&str>,
    ) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let named = profile.map(str::to_owned).or_else(|| set("AWS_PROFILE"));
        let wanted = named.clone().unwrap_or_else(|| "default".to_owned());
        let in_files = |key: &str| {
            section(credentials, &wanted)
                .remove(key)
                .or_else(|| section(configuration, &format!("profile {wanted}")).remove(key))
                .or_else(|| section(configuration, &wanted).remove(key))
        };
        let keys_of = |get: &dyn Fn(&str) -> Option<String>, names: [&str; 3]| {
            let (key, secret) = (get(names[0])?, get(names[1])?);
            Some(S3Credentials { key, secret, session: get(names[2]) })
        };
        let from_variables =
            || keys_of(&set, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]);
        let from_files =
            || keys_of(&in_files, ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"]);
        // A profile that the place itself names goes before variables, which may be for something else.
        let credentials_found = match profile {
            Some(_) => from_files(),
            None => from_variables().or_else(from_files),
        };
        Self {
            credentials: credentials_found,
            region: set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")).or_else(|| in_files("region")),
            endpoint: set("AWS_ENDPOINT_URL_S3")
                .or_else(|| set("AWS_ENDPOINT_URL"))
                .or_else(|| in_files("endpoint_url")),
        }
    }
}

/// Returns the keys of a section of an INI file. Lines that begin with a blank go on with the key
/// before and are not ours.
fn section(text: &str, name: &str) -> HashMap<String, String> {
    let mut keys = HashMap::new();
    let mut inside = false;
    for line in text.lines().filter(|line| !line.starts_with([' ', '\t', '#', ';'])) {
        if let Some(header) = line.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = header.split_whitespace().eq(name.split_whitespace());
        } else if let (true, Some((key, value))) = (inside, line.split_once('=')) {
            keys.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_as_people_write_them() {
        let place: S3Place =
            "s3:acme-cache/plimsoll/x?region=eu-central-1&endpoint=http://127.0.0.1:9000".parse().unwrap();
        assert_eq!((place.bucket.as_str(), place.prefix.as_str()), ("acme-cache", "plimsoll/x"));
        assert_eq!(place.region.as_deref(), Some("eu-central-1"));
        assert_eq!(place.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(place.to_string(), "s3://acme-cache/plimsoll/x");
        for same in ["s3://acme-cache", "acme-cache", "s3:acme-cache/", "s3://acme-cache/?region=x"] {
            assert_eq!(same.parse::<S3Place>().unwrap().to_string(), "s3://acme-cache", "{same}");
        }
    }

    #[test]
    fn what_names_no_bucket_is_refused() {
        for (text, reason) in [
            ("", "3 to 63"),
            ("s3:Acme", "lower-case"),
            ("s3:acme/../x", ".."),
            ("s3:acme?regoin=x", "\"regoin\" is not known"),
            ("s3:acme?endpoint=minio:9000", "begins with https://"),
            ("s3:acme?region=", "region has no value"),
            ("s3:acme?anonymous=maybe", "neither true nor false"),
        ] {
            let error = text.parse::<S3Place>().unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {}", error.reason);
        }
    }

    fn read(variables: &[(&str, &str)], profile: Option<&str>) -> S3Settings {
        let credentials = "[default]\naws_access_key_id = D\naws_secret_access_key=secret-d\n\n[ci]\n# words\naws_access_key_id=C\naws_secret_access_key=secret-c==\naws_session_token = t\n";
        let configuration = "[profile ci]\nregion = eu-west-1\ns3 =\n  max_concurrent_requests = 20\nendpoint_url = http://minio\n[default]\nregion=us-east-2\n";
        let find =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        S3Settings::read(&find, credentials, configuration, profile)
    }

    #[track_caller]
    fn check(settings: &S3Settings, key: &str, session: Option<&str>, region: &str) {
        let credentials = settings.credentials.as_ref().unwrap();
        assert_eq!((credentials.key.as_str(), credentials.session.as_deref()), (key, session));
        assert_eq!(settings.region.as_deref(), Some(region));
        assert!(!format!("{settings:?}").contains(&credentials.secret), "a secret is printed");
    }

    #[test]
    fn variables_go_before_files_and_a_named_profile_before_both() {
        let keys = [("AWS_ACCESS_KEY_ID", "V"), ("AWS_SECRET_ACCESS_KEY", "secret-v"), ("AWS_REGION", "r")];
        check(&read(&[], None), "D", None, "us-east-2");
        check(&read(&keys, None), "V", None, "r");
        check(&read(&[("AWS_PROFILE", "ci")], None), "C", Some("t"), "eu-west-1");
        check(&read(&keys[..2], Some("ci")), "C", Some("t"), "eu-west-1");
        assert_eq!(read(&[], Some("ci")).endpoint.as_deref(), Some("http://minio"));
        assert_eq!(read(&[], Some("nobody")).credentials, None);
    }

    #[test]
    fn a_bucket_wants_credentials_and_a_region() {
        let transport = HttpTransporter::default;
        let open = |text: &str| text.parse::<S3Place>().unwrap().open(&S3Settings::default(), transport());
        assert!(open("s3:acme?region=r").unwrap_err().to_string().contains("AWS_ACCESS_KEY_ID"));
        assert!(open("s3:acme?anonymous=true").unwrap_err().to_string().contains("add ?region=NAME"));
        assert_eq!(open("s3:acme?anonymous=true&endpoint=http://x").unwrap().name(), "s3://acme");
    }

    proptest! {
        #[test]
        fn any_text_is_a_place_or_an_error(text in "(s3:)?(//)?[a-z]{0,9}[/?=&.A-Za-z0-9:]{0,40}") {
            if let Ok(place) = text.parse::<S3Place>() {
                prop_assert_eq!(place.to_string().parse::<S3Place>().unwrap().bucket, place.bucket);
            }
        }

        #[test]
        fn any_file_is_read(text in "(\\[[a-z ]{0,9}\\]?\n|[a-z_]{0,9} ?=?[a-z ]{0,9}\n){0,9}") {
            S3Settings::read(&|_| None, &text, &text, Some("a"));
        }
    }
}
