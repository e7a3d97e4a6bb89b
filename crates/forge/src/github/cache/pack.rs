//! One entry that holds many small things: documents and blobs with their digests.
//!
//! | bytes | what |
//! |---|---|
//! | a line | `plimsoll.ci-cache/1 LENGTH` |
//! | LENGTH | JSON: the descriptors of the documents, the first is what the tag points to, and of the parts |
//! | the rest | their content in this order |

use ::store::StoreError;
use bytes::Bytes;
use oci::{Descriptor, Digest, Document, MediaType};
use serde::{Deserialize, Serialize};

use super::FORMAT;

/// The largest entry of this kind that is read.
pub(super) const MAX_PACK_BYTES: u64 = 64 << 20;
const MAX_HEADER_BYTES: usize = 4 << 20;

/// Documents and blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pack {
    /// The first is what the tag points to.
    pub documents: Vec<Document>,
    pub parts: Vec<(Digest, Bytes)>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    documents: Vec<Descriptor>,
    parts: Vec<Descriptor>,
}

impl Pack {
    pub fn encode(&self) -> Bytes {
        let part = |(digest, content): &(Digest, Bytes)| {
            Descriptor::new(MediaType::from("application/octet-stream"), *digest, content.len() as u64)
        };
        let header = Header {
            documents: self.documents.iter().map(|document| document.descriptor().clone()).collect(),
            parts: self.parts.iter().map(part).collect(),
        };
        let header = serde_json::to_vec(&header).expect("descriptors have only strings and numbers");
        let mut bytes = format!("{FORMAT} {}\n", header.len()).into_bytes();
        bytes.extend_from_slice(&header);
        self.documents.iter().for_each(|document| bytes.extend_from_slice(document.raw()));
        self.parts.iter().for_each(|(_, content)| bytes.extend_from_slice(content));
        bytes.into()
    }

    /// Reads an entry and checks every digest in it.
    pub fn decode(mut bytes: Bytes, what: &str) -> Result<Self, StoreError> {
        let corrupt = |reason: String| StoreError::Corrupt { what: what.to_owned(), reason };
        let end = bytes.iter().take(64).position(|byte| *byte == b'\n');
        let line = end.and_then(|end| std::str::from_utf8(&bytes[..end]).ok());
        let length =
            line.and_then(|line| line.strip_prefix(FORMAT)?.strip_prefix(' ')?.parse::<usize>().ok());
        let (Some(end), Some(length)) = (end, length) else {
            return Err(corrupt(format!("it does not begin as {FORMAT} does")));
        };
        let mut take = |length: usize| -> Result<Bytes, StoreError> {
            match length <= bytes.len() {
                true => Ok(bytes.split_to(length)),
                false => Err(corrupt("it is cut off".to_owned())),
            }
        };
        take(end + 1)?;
        if length > MAX_HEADER_BYTES {
            return Err(corrupt("its list is too long".to_owned()));
        }
        let header: Header =
            serde_json::from_slice(&take(length)?).map_err(|error| corrupt(error.to_string()))?;
        let mut pack = Self::default();
        let mut content = |descriptor: &Descriptor| -> Result<Bytes, StoreError> {
            let content = take(usize::try_from(descriptor.size).unwrap_or(usize::MAX))?;
            match Digest::with(descriptor.digest.algorithm(), &content) == descriptor.digest {
                true => Ok(content),
                false => Err(corrupt(format!("the content of {} has another digest", descriptor.digest))),
            }
        };
        for descriptor in &header.documents {
            let document = Document::parse(content(descriptor)?, Some(&descriptor.media_type));
            let document = document.map_err(|error| corrupt(error.to_string()))?;
            pack.documents.push(document.known_by(descriptor.digest.algorithm()));
        }
        for descriptor in &header.parts {
            let content = content(descriptor)?;
            pack.parts.push((descriptor.digest, content));
        }
        Ok(pack)
    }
}

#[cfg(test)]
mod tests {
    use oci::ImageManifest;
    use proptest::prelude::*;

    use super::*;

    fn pack() -> Pack {
        let config = Descriptor::of(MediaType::OciConfig, b"{}");
        let document = Document::from_manifest(ImageManifest::new(config, Vec::new()));
        let part = |content: &'static str| (Digest::of(content.as_bytes()), Bytes::from(content));
        Pack { documents: vec![document], parts: vec![part("{}"), part(""), part("layer")] }
    }

    #[test]
    fn what_is_packed_comes_out() {
        assert_eq!(Pack::decode(pack().encode(), "x").unwrap(), pack());
        assert_eq!(Pack::decode(Pack::default().encode(), "x").unwrap(), Pack::default());
    }

    #[test]
    fn every_cut_and_every_changed_byte_of_content_is_seen() {
        let bytes = pack().encode();
        for cut in 0..bytes.len() {
            assert!(Pack::decode(bytes.slice(..cut), "x").is_err(), "cut at {cut}");
        }
        let mut wrong = bytes.to_vec();
        *wrong.last_mut().unwrap() ^= 1;
        let error = Pack::decode(wrong.into(), "the entry").unwrap_err();
        assert!(error.to_string().contains("the entry is corrupt: the content of sha256:"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_pack_or_an_error(head in "(plimsoll.ci-cache/1 [0-9]{1,20}\n)?", tail in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Pack::decode([head.as_bytes(), &tail].concat().into(), "x");
        }
    }
}
