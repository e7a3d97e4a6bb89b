//! Names of users and groups to numbers, by the image's own `/etc/passwd` and `/etc/group`.

use super::contents::View;
use super::workspace::Workspace;
use crate::BuildError;
use crate::dockerfile::{Account, Owner};

/// Returns the numbers of an owner. A group that is not given is the user's own, or for a number
/// the same number, as BuildKit has it.
///
/// # Errors
/// A name that the image does not have, for people.
pub(crate) fn resolve(
    workspace: &Workspace,
    view: &View,
    owner: &Owner,
) -> Result<Result<(u32, u32), String>, BuildError> {
    let needs_names = matches!(owner.user, Account::Name(_)) || matches!(owner.group, Some(Account::Name(_)));
    let (passwd, group) = match needs_names {
        true => (view.text(workspace, "/etc/passwd")?, view.text(workspace, "/etc/group")?),
        false => (None, None),
    };
    Ok(numbers(&passwd.unwrap_or_default(), &group.unwrap_or_default(), owner))
}

fn numbers(passwd: &str, group: &str, owner: &Owner) -> Result<(u32, u32), String> {
    let (uid, own_group) = match &owner.user {
        Account::Number(id) => (*id, *id),
        Account::Name(name) => {
            let fields = line(passwd, name).ok_or_else(|| missing("user", name, "/etc/passwd"))?;
            match (number(&fields, 2), number(&fields, 3)) {
                (Some(uid), Some(gid)) => (uid, gid),
                _ => return Err(missing("user", name, "/etc/passwd")),
            }
        }
    };
    let gid = match &owner.group {
        None => own_group,
        Some(Account::Number(id)) => *id,
        Some(Account::Name(name)) => {
            let fields = line(group, name).ok_or_else(|| missing("group", name, "/etc/group"))?;
            number(&fields, 2).ok_or_else(|| missing("group", name, "/etc/group"))?
        }
    };
    Ok((uid, gid))
}

fn missing(kind: &str, name: &str, file: &str) -> String {
    format!("the image has no {kind} {name:?} in {file}")
}

fn line<'a>(file: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let fields = |line: &'a str| line.split(':').collect::<Vec<_>>();
    file.lines().map(fields).find(|fields| fields.first() == Some(&name))
}

fn number(fields: &[&str], at: usize) -> Option<u32> {
    fields.get(at)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbroken:x\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:app\n";

    #[track_caller]
    fn check(owner: &str, expected: Result<(u32, u32), &str>) {
        let owner = Owner::parse(owner).unwrap();
        let found = numbers(PASSWD, GROUP, &owner);
        match expected {
            Ok(numbers) => assert_eq!(found, Ok(numbers)),
            Err(text) => assert!(found.clone().unwrap_err().contains(text), "{found:?}"),
        }
    }

    #[test]
    fn names_and_numbers() {
        check("app", Ok((1000, 1001)));
        check("app:staff", Ok((1000, 50)));
        check("7", Ok((7, 7)));
        check("7:staff", Ok((7, 50)));
        check("7:8", Ok((7, 8)));
        check("nobody", Err("no user \"nobody\""));
        check("app:wheel", Err("no group \"wheel\""));
        check("broken", Err("no user"));
    }
}
