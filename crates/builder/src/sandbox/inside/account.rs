//! The user of an image's config, looked up in the image's own `/etc/passwd` and `/etc/group`.
//!
//! Source: image-spec v1.1, config.md, "User"; moby/sys/user, `GetExecUser`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::sandbox::error::SandboxError;

/// A passwd file of ten megabytes is an attack, not a list of users.
const LARGEST_LIST: u64 = 10 << 20;

/// Who a command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Further groups, ascending, without repetition.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

impl Account {
    /// Looks up `user` as an image's config spells it, in the root folder `root`.
    pub(super) fn look_up(root: &Path, user: &str) -> Result<Self, SandboxError> {
        let (user, group) = match user.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (user, None),
        };
        let passwd = lines(&root.join("etc/passwd"))?;
        let found = find_user(&passwd, user)?;
        let groups = lines(&root.join("etc/group"))?;
        let Some(group) = group.filter(|group| !group.is_empty()) else {
            return Ok(Self { groups: memberships(&groups, found.name.as_deref()), ..found.account });
        };
        Ok(Self { gid: find_group(&groups, group)?, ..found.account })
    }
}

struct Found {
    name: Option<String>,
    account: Account,
}

fn find_user(passwd: &[Vec<String>], user: &str) -> Result<Found, SandboxError> {
    let number = if user.is_empty() { Some(0) } else { parse_id(user) };
    for fields in passwd {
        let [name, _, uid, gid, rest @ ..] = fields.as_slice() else { continue };
        let (Some(uid), Some(gid)) = (parse_id(uid), parse_id(gid)) else { continue };
        // A name made of digits wins over the number, as it does elsewhere.
        if name == user || number == Some(uid) {
            let home = rest.get(1).filter(|home| !home.is_empty()).map_or("/", String::as_str).to_owned();
            return Ok(Found {
                name: Some(name.clone()),
                account: Account { uid, gid, groups: vec![], home },
            });
        }
    }
    let uid = number.ok_or_else(|| SandboxError::UnknownUser { name: user.to_owned() })?;
    let home = if uid == 0 { "/root" } else { "/" }.to_owned();
    Ok(Found { name: None, account: Account { uid, gid: 0, groups: vec![], home } })
}

fn find_group(groups: &[Vec<String>], group: &str) -> Result<u32, SandboxError> {
    let by_name = groups.iter().find(|fields| fields[0] == group).and_then(|fields| parse_id(fields.get(2)?));
    by_name.or_else(|| parse_id(group)).ok_or_else(|| SandboxError::UnknownGroup { name: group.to_owned() })
}

fn memberships(groups: &[Vec<String>], name: Option<&str>) -> Vec<u32> {
    let Some(name) = name else { return Vec::new() };
    let member = |fields: &Vec<String>| {
        let members = fields.get(3)?;
        members.split(',').any(|member| member == name).then(|| parse_id(fields.get(2)?)).flatten()
    };
    let mut found: Vec<_> = groups.iter().filter_map(member).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn parse_id(text: &str) -> Option<u32> {
    // The highest number means "no change" to the kernel.
    text.parse().ok().filter(|id| *id != u32::MAX && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads a colon-separated list; an image without one has no names.
fn lines(path: &Path) -> Result<Vec<Vec<String>>, SandboxError> {
    let unreadable =
        |error: io::Error| SandboxError::setup(format!("read /etc/{} of the image", name_of(path)), error);
    let file = match File::open(path) {
        Ok(file) if file.metadata().map_err(unreadable)?.is_file() => file,
        Ok(_) => return Ok(Vec::new()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(unreadable(error)),
    };
    let mut list = Vec::new();
    for line in BufReader::new(file.take(LARGEST_LIST)).split(b'\n') {
        let line = String::from_utf8_lossy(&line.map_err(unreadable)?).trim().to_owned();
        if !line.is_empty() && !line.starts_with('#') {
            list.push(line.split(':').map(|field| field.trim().to_owned()).collect());
        }
    }
    Ok(list)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "# comment\nroot:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/srv/app:/bin/sh\n\
                          broken\n4711:x:12:13::/digits:/bin/sh\nbig:x:99999999999:0::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\nstaff:x:50:app,root\nweb:x:33:app\nbad:x:y:app\n";

    fn look_up(user: &str) -> Result<Account, SandboxError> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), PASSWD).unwrap();
        std::fs::write(root.path().join("etc/group"), GROUP).unwrap();
        Account::look_up(root.path(), user)
    }

    #[track_caller]
    fn check(user: &str, uid: u32, gid: u32, groups: &[u32], home: &str) {
        let expected = Account { uid, gid, groups: groups.to_vec(), home: home.to_owned() };
        assert_eq!(look_up(user).unwrap(), expected);
    }

    #[test]
    fn every_spelling_of_the_image_config() {
        check("", 0, 0, &[10, 50], "/root");
        check("root", 0, 0, &[10, 50], "/root");
        check("0", 0, 0, &[10, 50], "/root");
        check("app", 1000, 1001, &[10, 33, 50], "/srv/app");
        check("1000", 1000, 1001, &[10, 33, 50], "/srv/app");
        check("app:staff", 1000, 50, &[], "/srv/app");
        check("app:7", 1000, 7, &[], "/srv/app");
        check("app:", 1000, 1001, &[10, 33, 50], "/srv/app");
        check("65532:65532", 65532, 65532, &[], "/");
        check("65532", 65532, 0, &[], "/");
        check("4711", 12, 13, &[], "/digits");
    }

    #[test]
    fn unknown_names_are_named() {
        assert_eq!(look_up("nobody"), Err(SandboxError::UnknownUser { name: "nobody".into() }));
        assert_eq!(look_up("app:nogroup"), Err(SandboxError::UnknownGroup { name: "nogroup".into() }));
        assert_eq!(look_up("-1"), Err(SandboxError::UnknownUser { name: "-1".into() }));
        assert_eq!(look_up("4294967295"), Err(SandboxError::UnknownUser { name: "4294967295".into() }));
    }

    #[test]
    fn an_image_without_lists_knows_numbers_only() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Account::look_up(root.path(), "12:13").unwrap().gid, 13);
        assert_eq!(Account::look_up(root.path(), "").unwrap().home, "/root");
        assert!(Account::look_up(root.path(), "app").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_it_panic(passwd: Vec<u8>, group: Vec<u8>, user: String) {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir(root.path().join("etc")).unwrap();
            std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
            std::fs::write(root.path().join("etc/group"), group).unwrap();
            let _ = Account::look_up(root.path(), &user);
        }
    }
}
