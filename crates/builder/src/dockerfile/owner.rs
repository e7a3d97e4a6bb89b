//! `--chown` and USER: `user`, `user:group`, by names or numbers, not yet looked up.
//!
//! Names are looked up in the stage's own `/etc/passwd` and `/etc/group`. Where only a user is given,
//! COPY and ADD give the file the group of the same number; USER takes the user's groups. A part that
//! is left empty beside a colon is number 0.
//!
//! Source: the Dockerfile reference, "COPY --chown" and "USER"; BuildKit for empty parts.

use std::fmt;

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}

/// A user and, where one is given, a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The user.
    pub user: Account,
    /// The group.
    pub group: Option<Account>,
}

impl Owner {
    /// Reads `user[:group]`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the owner is empty; write USER or USER:GROUP".to_owned());
        }
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        Ok(Self {
            user: Account::parse(user, text)?,
            group: group.map(|group| Account::parse(group, text)).transpose()?,
        })
    }
}

impl Account {
    fn parse(part: &str, text: &str) -> Result<Self, String> {
        if part.is_empty() {
            return Ok(Self::Number(0));
        }
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            return match part.parse() {
                // The highest number means "leave as it is" to the kernel.
                Ok(number) if number != u32::MAX => Ok(Self::Number(number)),
                _ => Err(format!("{text:?} holds a number over {}", u32::MAX - 1)),
            };
        }
        if part.contains([':', '/', '\n', '\0']) {
            return Err(format!("{text:?} is not USER or USER:GROUP"));
        }
        Ok(Self::Name(part.to_owned()))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.user.fmt(f)?;
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let parse = |text: &str| Owner::parse(text).unwrap();
        assert_eq!(parse("0"), Owner { user: Account::Number(0), group: None });
        assert_eq!(
            parse("app:1000"),
            Owner { user: Account::Name("app".to_owned()), group: Some(Account::Number(1000)) }
        );
        assert_eq!(parse("1:").to_string(), "1:0");
        assert_eq!(parse(":2").to_string(), "0:2");
        for text in ["0", "app", "1:2", "app:app", "www-data:33", "a.b"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_refused() {
        for text in ["", "a:b:c", "4294967295", "99999999999", "a/b", "a\nb"] {
            assert!(Owner::parse(text).is_err(), "{text}");
        }
    }
}
