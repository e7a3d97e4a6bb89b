//! A bucket in this process that speaks S3, for servers in processes of their own that come and go.
//! An object is there whole or not at all, as in any real one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::fmt::strtime;

use store::object::S3Credentials;
use store::{ObjectStore, S3Place, S3Settings};

use super::TestClient;
use super::scripted::{Answer, Asked, Scripted};

/// What lies in a bucket.
#[derive(Default)]
struct Content {
    objects: BTreeMap<String, (Vec<u8>, Timestamp)>,
    /// Parts of uploads that have not ended.
    parts: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
}

/// A bucket named `acme`.
pub struct FakeBucket(Scripted);

impl FakeBucket {
    pub fn start() -> Self {
        let mut content = Content::default();
        Self(Scripted::start_after(move |asked: &Asked| content.answer(asked)))
    }

    /// Returns a store in a new bucket, which is there until the process ends.
    pub fn store() -> ObjectStore {
        let (bucket, client) = (Self::start(), TestClient::new(|_| {}));
        let place: S3Place = "s3:acme/images?region=r".parse().unwrap();
        let credentials = S3Credentials { key: "k".into(), secret: "s".into(), session: None };
        let endpoint = Some(bucket.endpoint());
        let settings = S3Settings { credentials: Some(credentials), region: None, endpoint };
        ObjectStore::open(place.open(&settings, client.client.object_transport()).unwrap()).unwrap()
    }

    pub fn endpoint(&self) -> String {
        self.0.url("")
    }
}

impl Content {
    fn answer(&mut self, asked: &Asked) -> Answer {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let query: BTreeMap<String, String> = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (plain(name), plain(value)))
            .collect();
        let key = plain(path.strip_prefix("/acme").unwrap().trim_start_matches('/'));
        let upload = query.get("uploadId").cloned();
        match (asked.method.as_str(), upload) {
            ("GET", None) if key.is_empty() => self.list(&query),
            ("POST", None) if query.contains_key("delete") => self.delete(asked),
            ("POST", None) if query.contains_key("uploads") => self.begin(),
            ("POST", Some(upload)) => self.end(key, &upload),
            ("PUT", Some(upload)) => {
                let number = query["partNumber"].parse().unwrap();
                let parts = self.parts.get_mut(&upload).unwrap();
                parts.insert(number, asked.body.clone());
                Answer::status(200).header("ETag", format!("\"{number}\""))
            }
            ("PUT", None) if asked.header("if-none-match").is_some() && self.objects.contains_key(&key) => {
                Answer::status(412)
            }
            ("PUT", None) => {
                self.objects.insert(key, (asked.body.clone(), Timestamp::now()));
                Answer::status(200).header("ETag", "\"1\"")
            }
            ("DELETE", upload) => {
                match upload {
                    Some(upload) => drop(self.parts.remove(&upload)),
                    None => drop(self.objects.remove(&key)),
                }
                Answer::status(204)
            }
            (_, _) => self.read(asked, &key),
        }
    }

    fn read(&self, asked: &Asked, key: &str) -> Answer {
        let Some((content, written)) = self.objects.get(key) else { return Answer::status(404) };
        let written = strtime::format("%a, %d %b %Y %H:%M:%S GMT", *written).unwrap();
        let range = asked.header("range").and_then(|range| range.strip_prefix("bytes="));
        let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
            return Answer::status(200).header("Last-Modified", written).body(content.clone());
        };
        let first: usize = first.parse().unwrap();
        let end = last.parse().map_or(content.len(), |last: usize| (last + 1).min(content.len()));
        if first >= content.len() {
            return Answer::status(416);
        }
        let range = format!("bytes {first}-{}/{}", end - 1, content.len());
        let answer = Answer::status(206).header("Last-Modified", written).header("Content-Range", range);
        answer.body(&content[first..end])
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Answer {
        let prefix = query.get("prefix").map_or("", String::as_str);
        let delimiter = query.get("delimiter").map_or("", String::as_str);
        let (mut text, mut folders) = (String::new(), BTreeSet::new());
        for (key, (content, written)) in self.objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let rest = &key[prefix.len()..];
            match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
                Some(end) => drop(folders.insert(format!("{prefix}{}", &rest[..=end]))),
                None => text.push_str(&format!(
                    "<Contents><Key>{key}</Key><LastModified>{written:.3}</LastModified><ETag>\"1\"</ETag><Size>{}</Size></Contents>",
                    content.len()
                )),
            }
        }
        for folder in folders {
            text.push_str(&format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"));
        }
        let list = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{text}</ListBucketResult>");
        Answer::status(200).body(list)
    }

    fn delete(&mut self, asked: &Asked) -> Answer {
        let body = String::from_utf8(asked.body.clone()).unwrap();
        let mut gone = String::new();
        for key in body.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap()) {
            self.objects.remove(key);
            gone.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
        }
        Answer::status(200).body(format!("<DeleteResult>{gone}</DeleteResult>"))
    }

    fn begin(&mut self) -> Answer {
        let name = format!("upload{}", self.parts.len());
        self.parts.insert(name.clone(), BTreeMap::new());
        let text = format!(
            "<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
        );
        Answer::status(200).body(text)
    }

    fn end(&mut self, key: String, upload: &str) -> Answer {
        // The numbers of uploads go on: their places stay.
        let parts = std::mem::take(self.parts.get_mut(upload).unwrap());
        self.objects.insert(key, (parts.into_values().flatten().collect(), Timestamp::now()));
        let text = "<CompleteMultipartUploadResult><ETag>\"1\"</ETag></CompleteMultipartUploadResult>";
        Answer::status(200).body(text)
    }
}

/// Undoes what an address does to characters.
fn plain(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}
