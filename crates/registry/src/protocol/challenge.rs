//! `WWW-Authenticate`: what a server wants to see before it lets somebody in.
//! Source: RFC 9110, "WWW-Authenticate"; distribution project, token authentication.

/// How a server wants to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token that the service at `realm` gives out.
    Bearer {
        /// The address to ask for a token.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What the token must allow, separated by spaces.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads the challenges of one header and returns the one to answer: `Bearer` where it is
    /// offered with a realm, else `Basic`. `None` where neither is offered.
    pub fn parse(header: &str) -> Option<Self> {
        let challenges = split(header);
        let bearer = challenges.iter().find_map(|challenge| {
            let get = |name: &str| challenge.get(name);
            challenge.is("bearer").then(|| get("realm")).flatten().map(|realm| Self::Bearer {
                realm,
                service: get("service"),
                scope: get("scope"),
            })
        });
        bearer.or_else(|| challenges.iter().any(|challenge| challenge.is("basic")).then_some(Self::Basic))
    }
}

struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Raw {
    fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    fn get(&self, name: &str) -> Option<String> {
        let found = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }
}

/// Challenges and parameters are both separated by commas; a word without `=` after it begins a
/// new challenge.
fn split(header: &str) -> Vec<Raw> {
    let mut challenges: Vec<Raw> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        if end == 0 && !rest.starts_with('=') {
            return challenges;
        }
        let (word, after) = rest.split_at(end);
        match (after.trim_start().strip_prefix('='), challenges.last_mut()) {
            (Some(after), Some(challenge)) => {
                let (value, after) = value(after.trim_start());
                challenge.parameters.push((word.to_owned(), value));
                rest = after;
            }
            (Some(_), None) => return challenges,
            (None, _) => {
                challenges.push(Raw { scheme: word.to_owned(), parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

/// A token or a quoted string with backslash escapes, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[index + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) })
    }

    #[track_caller]
    fn check(header: &str, expected: Option<Challenge>) {
        assert_eq!(Challenge::parse(header), expected, "{header}");
    }

    #[test]
    fn what_registries_send() {
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull""#,
            bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/debian:pull"),
            ),
        );
        check(r#"Basic realm="Registry, \"quoted\"""#, Some(Challenge::Basic));
        check("basic", Some(Challenge::Basic));
        check(
            r#"Basic realm="x", Bearer realm="https://t" , service=s"#,
            bearer("https://t", Some("s"), None),
        );
        check(
            r#"Bearer realm="https://t",scope="repository:a:pull,push",error="invalid_token""#,
            bearer("https://t", None, Some("repository:a:pull,push")),
        );
        check(r#"Negotiate, NTLM"#, None);
        check(r#"Bearer service="x""#, None);
        check("", None);
        check("=", None);
    }

    proptest! {
        #[test]
        fn never_panics(header in "[a-zA-Z=\", \\\\é]{0,60}") {
            let _ = Challenge::parse(&header);
        }
    }
}
