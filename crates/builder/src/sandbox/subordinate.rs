//! The further ids that the administrator gave to an ordinary user.
//!
//! Source: subuid(5), subgid(5), newuidmap(1).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::error::SandboxError;

/// Where the two set-uid programs of the package `uidmap` are; NixOS has the third.
const FOLDERS: [&str; 4] = ["/usr/bin", "/bin", "/run/wrappers/bin", "/usr/local/bin"];

/// Ranges of ids, and the programs that may map them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubordinateIds {
    users: Vec<Range>,
    groups: Vec<Range>,
    newuidmap: PathBuf,
    newgidmap: PathBuf,
}

/// Ids that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

impl Range {
    fn overlaps(self, other: Self) -> bool {
        self.first < other.first + other.count && other.first < self.first + self.count
    }
}

impl SubordinateIds {
    /// Looks up what the user of this process has.
    ///
    /// # Errors
    /// Says in words what is missing.
    pub(super) fn of_this_user() -> Result<Self, String> {
        let uid = rustix::process::geteuid().as_raw();
        let names = names_of(uid, &fs::read_to_string("/etc/passwd").unwrap_or_default());
        let ranges = |file: &str| {
            let found = parse(&fs::read_to_string(file).unwrap_or_default(), &names);
            if found.is_empty() { Err(format!("no entry for user {uid} in {file}")) } else { Ok(found) }
        };
        let helper = |name: &str| {
            let mut places = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
            places
                .find(|path| path.exists())
                .ok_or_else(|| format!("{name} is not installed (package uidmap)"))
        };
        Ok(Self {
            users: ranges("/etc/subuid")?,
            groups: ranges("/etc/subgid")?,
            newuidmap: helper("newuidmap")?,
            newgidmap: helper("newgidmap")?,
        })
    }

    /// Returns how many users there are beside the user's own id.
    pub fn count(&self) -> u32 {
        self.users.iter().map(|range| range.count).sum()
    }

    /// Gives the ids to the user namespace of the process `pid`.
    pub(super) fn map(&self, pid: Pid) -> Result<(), SandboxError> {
        let own = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()];
        for (helper, ranges, own) in
            [(&self.newuidmap, &self.users, own[0]), (&self.newgidmap, &self.groups, own[1])]
        {
            let doing = format!("map subordinate ids with {}", helper.display());
            let output = std::process::Command::new(helper)
                .args(arguments(pid, own, ranges))
                .env_clear()
                .output()
                .map_err(|error| SandboxError::setup(&doing, error))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(SandboxError::setup(doing, std::io::Error::other(said)));
            }
        }
        Ok(())
    }
}

/// Root inside is the user; the subordinate ids follow from 1 on.
fn arguments(pid: Pid, own: u32, ranges: &[Range]) -> Vec<OsString> {
    let mut numbers = vec![pid.as_raw_nonzero().get().to_string()];
    numbers.extend([0, own, 1].map(|number| number.to_string()));
    let mut inside = 1;
    for range in ranges {
        numbers.extend([inside, range.first, range.count].map(|number| number.to_string()));
        inside += range.count;
    }
    numbers.into_iter().map(OsString::from).collect()
}

/// Returns what the lists may call a user: the number, and every name of it.
fn names_of(uid: u32, passwd: &str) -> Vec<String> {
    let mut names = vec![uid.to_string()];
    names.extend(passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    }));
    names
}

/// Reads the lines `name:first:count` of a user, leaving out those that make no sense.
fn parse(list: &str, names: &[String]) -> Vec<Range> {
    let line = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = Range { first: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? };
        let sensible = range.count > 0 && range.first.checked_add(range.count).is_some();
        (sensible && names.iter().any(|name| name == owner)).then_some(range)
    };
    let mut total: u32 = 1;
    let mut ranges: Vec<Range> = Vec::new();
    for range in list.lines().filter_map(line) {
        // The same ids by name and by number would make the kernel refuse them all.
        let known = ranges.iter().any(|other| range.overlaps(*other));
        if let Some(sum) = total.checked_add(range.count).filter(|_| !known) {
            total = sum;
            ranges.push(range);
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, expected: &[(u32, u32)]) {
        let names = names_of(1000, "root:x:0:0::/:\nme:x:1000:1000::/:\nme2:x:1000:5::/:\nbroken\n");
        let found: Vec<_> = parse(list, &names).iter().map(|range| (range.first, range.count)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn lists_are_read_by_name_and_by_number() {
        check(
            "me:100000:65536\nyou:200000:65536\n1000:5000:10\nme2:1:2\n",
            &[(100_000, 65_536), (5000, 10), (1, 2)],
        );
        check("me:100000\nme:x:1\nme:1:0\n\n#me:1:2\nme:4294967295:2\n", &[]);
        check("me:100:4294967100\nme:1:50\nme:7:1000\n", &[(100, 4_294_967_100), (1, 50)]);
        check("me:100:10\n1000:100:10\nme2:105:50\nme:110:5", &[(100, 10), (110, 5)]);
    }

    #[test]
    fn ids_inside_follow_each_other() {
        let ranges = [Range { first: 100_000, count: 65_536 }, Range { first: 5000, count: 10 }];
        let pid = Pid::from_raw(77).unwrap();
        let words = arguments(pid, 1000, &ranges).join(" ".as_ref()).into_string().unwrap();
        assert_eq!(words, "77 0 1000 1 1 100000 65536 65537 5000 10");
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_it_panic(list: String, passwd: String) {
            parse(&list, &names_of(1000, &passwd));
        }
    }
}
