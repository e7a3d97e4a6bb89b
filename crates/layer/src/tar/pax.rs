//! Extension records of the pax format: `LENGTH KEY=VALUE\n`, LENGTH counting itself.

use std::collections::BTreeMap;

use super::header::BLOCK;
use super::sparse::SparseRecords;

/// Bodies of extension headers larger than this are refused; Go's reader has the same bound.
pub(crate) const MAX_BODY_BYTES: u64 = 1 << 20;

const SPARSE: &[u8] = b"GNU.sparse.";
const XATTR: &[u8] = b"SCHILY.xattr.";

/// What the records that matter to a layer say. Fields that are `None` leave the header's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<i64>,
    pub(crate) uid: Option<i64>,
    pub(crate) gid: Option<i64>,
    pub(crate) mtime: Option<i64>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) sparse: Option<SparseRecords>,
}

impl Records {
    /// Adds the records of one extension header; later ones win, an empty value takes a record back.
    ///
    /// # Errors
    /// The reason as text.
    pub(crate) fn add(&mut self, mut body: &[u8]) -> Result<(), &'static str> {
        while !body.is_empty() {
            let (record, rest) = split_record(body)?;
            let equals = record.iter().position(|byte| *byte == b'=').filter(|at| *at > 0).ok_or(BROKEN)?;
            self.set(&record[..equals], &record[equals + 1..])?;
            body = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let text = (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = text,
            b"linkpath" => self.link = text,
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => self.mtime = whole_seconds(value)?,
            _ => {
                if let Some(key) = key.strip_prefix(SPARSE) {
                    return self.sparse.get_or_insert_default().set(key, value);
                }
                if let Some(name) = key.strip_prefix(XATTR).filter(|name| !name.is_empty()) {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    /// Returns these records with `local` ones taking precedence.
    pub(crate) fn overridden_by(&self, local: Self) -> Self {
        let mut xattrs = self.xattrs.clone();
        xattrs.extend(local.xattrs);
        Self {
            path: local.path.or_else(|| self.path.clone()),
            link: local.link.or_else(|| self.link.clone()),
            size: local.size.or(self.size),
            uid: local.uid.or(self.uid),
            gid: local.gid.or(self.gid),
            mtime: local.mtime.or(self.mtime),
            xattrs,
            // A map is about one file.
            sparse: local.sparse,
        }
    }
}

const BROKEN: &str = "a pax record is not of the form LENGTH KEY=VALUE";

/// Splits off the first `KEY=VALUE`.
fn split_record(body: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let space = body.iter().take(8).position(|byte| *byte == b' ').ok_or(BROKEN)?;
    let length = number(&body[..space])?.and_then(|length| usize::try_from(length).ok()).ok_or(BROKEN)?;
    let record = body.get(space + 1..length).ok_or(BROKEN)?;
    Ok((record.strip_suffix(b"\n").ok_or(BROKEN)?, &body[length..]))
}

fn number(value: &[u8]) -> Result<Option<i64>, &'static str> {
    if value.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
    text.and_then(|text| text.parse().ok()).map(Some).ok_or("a number in a pax record is not decimal")
}

/// Returns a time such as `1700000000.25` in seconds, rounded down as the fields of a header are.
fn whole_seconds(value: &[u8]) -> Result<Option<i64>, &'static str> {
    let Some(point) = value.iter().position(|byte| *byte == b'.') else { return number(value) };
    let fraction = &value[point + 1..];
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("a time in a pax record is not decimal");
    }
    let seconds = number(&value[..point])?.unwrap_or(0);
    let below = value.starts_with(b"-") && fraction.iter().any(|digit| *digit != b'0');
    Ok(Some(if below { seconds.saturating_sub(1) } else { seconds }))
}

/// Records that are written, in order of their keys.
#[derive(Debug, Default)]
pub(crate) struct Body(BTreeMap<Vec<u8>, Vec<u8>>);

impl Body {
    pub(crate) fn put(&mut self, key: &str, value: impl Into<Vec<u8>>) {
        self.0.insert(key.as_bytes().to_vec(), value.into());
    }

    /// Adds an extended attribute.
    ///
    /// # Errors
    /// The reason as text where its name cannot be the key of a record.
    pub(crate) fn put_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            return Err("the name of an extended attribute is empty or holds `=` or NUL");
        }
        self.0.insert([XATTR, name].concat(), value.to_vec());
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the records as they stand in the archive, without padding.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(BLOCK);
        for (key, value) in &self.0 {
            let rest = key.len() + value.len() + 3;
            body.extend_from_slice(record_length(rest).to_string().as_bytes());
            body.push(b' ');
            body.extend_from_slice(key);
            body.push(b'=');
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        body
    }
}

/// Returns the length of a record that has `rest` bytes beside the digits of its length.
fn record_length(rest: usize) -> usize {
    let digits = |number: usize| number.to_string().len();
    let length = rest + digits(rest);
    rest + digits(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parsed(body: &[u8]) -> Records {
        let mut records = Records::default();
        records.add(body).unwrap();
        records
    }

    #[test]
    fn lengths_count_their_own_digits() {
        for size in [0, 1, 80, 88, 89, 90, 91, 92, 980, 990, 991, 992, 9990] {
            let mut body = Body::default();
            body.put("path", vec![b'x'; size + 1]);
            let bytes = body.encode();
            let space = bytes.iter().position(|byte| *byte == b' ').unwrap();
            assert_eq!(std::str::from_utf8(&bytes[..space]).unwrap().parse::<usize>().unwrap(), bytes.len());
            assert_eq!(parsed(&bytes).path.unwrap().len(), size + 1);
        }
    }

    #[test]
    fn records_are_read() {
        let records = parsed(b"12 path=a/b\n13 uid=70000\n20 mtime=1700000.75\n");
        assert_eq!(records.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(records.uid, Some(70000));
        assert_eq!(records.mtime, Some(1_700_000));
        assert_eq!(parsed(b"14 mtime=-1.5\n").mtime, Some(-2));
        assert_eq!(parsed(b"14 mtime=-1.0\n").mtime, Some(-1));
        assert_eq!(parsed(b"12 path=a/b\n8 path=\n").path, None);
        assert!(parsed(b"22 GNU.sparse.major=1\n").sparse.is_some());
    }

    #[test]
    fn extended_attributes_keep_every_byte() {
        let mut body = Body::default();
        body.put_xattr(b"security.capability", b"\0\n=\xff").unwrap();
        let records = parsed(&body.encode());
        assert_eq!(records.xattrs[&b"security.capability"[..]], b"\0\n=\xff");
        assert!(Body::default().put_xattr(b"user.a=b", b"").is_err());
    }

    #[test]
    fn broken_records_are_refused() {
        for body in [
            "x",
            "5",
            "3 a",
            "99 path=a\n",
            "9 path=ab",
            "8 =value\n",
            "0 a=b\n",
            "-5 a=b\n",
            "11 size=+12\n",
        ] {
            assert!(Records::default().add(body.as_bytes()).is_err(), "{body:?}");
        }
        assert!(Records::default().add(b"11 uid=abc\n").is_err());
    }
}
