//! Paths as the neighbour writes them.

/// Returns the shortest path that means the same. Source: Go `path.Clean`.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Whether a context lies elsewhere: an address of git or of an archive.
pub(super) fn is_remote(context: &str) -> bool {
    let schemes = ["http://", "https://", "git://", "ssh://"];
    let bare_host = context.starts_with("github.com/");
    bare_host || schemes.iter().any(|scheme| context.starts_with(scheme)) || is_scp(context)
}

/// Whether git reaches the context through SSH.
pub(super) fn is_git_ssh(context: &str) -> bool {
    context.starts_with("ssh://") || is_scp(context)
}

/// `user@host:path`
fn is_scp(context: &str) -> bool {
    let word = |text: &str, also: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || also.contains(&c))
    };
    let Some((user, rest)) = context.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    word(user, &['_']) && word(host, &['.']) && !rest.contains("://")
}

/// Whether a name matches a pattern. Source: Go `path.Match`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Each state is how much of the pattern is used; a name is short, so this stays small.
    let mut states = vec![0usize];
    spread(&pattern, &mut states);
    for character in name {
        let mut next = Vec::new();
        for state in states {
            match pattern.get(state) {
                Some('*') if character != '/' => next.push(state),
                Some('?') if character != '/' => next.push(state + 1),
                Some('[') => next.extend(class(&pattern, state, character)),
                Some('\\') if pattern.get(state + 1) == Some(&character) => next.push(state + 2),
                Some(exact) if *exact == character && !matches!(exact, '*' | '?' | '\\') => {
                    next.push(state + 1)
                }
                _ => {}
            }
        }
        spread(&pattern, &mut next);
        states = next;
    }
    states.contains(&pattern.len())
}

/// A star may stand for nothing.
fn spread(pattern: &[char], states: &mut Vec<usize>) {
    let mut at = 0;
    while at < states.len() {
        if pattern.get(states[at]) == Some(&'*') && !states.contains(&(states[at] + 1)) {
            states.push(states[at] + 1);
        }
        at += 1;
    }
    states.sort_unstable();
    states.dedup();
}

fn class(pattern: &[char], start: usize, character: char) -> Option<usize> {
    let mut at = start + 1;
    let negated = pattern.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut found = false;
    loop {
        let low = match *pattern.get(at)? {
            ']' if at > start + 1 + usize::from(negated) => break,
            '\\' => {
                at += 1;
                *pattern.get(at)?
            }
            low => low,
        };
        at += 1;
        let high = match (pattern.get(at), pattern.get(at + 1)) {
            (Some('-'), Some(high)) if *high != ']' => {
                at += 2;
                *high
            }
            _ => low,
        };
        found |= (low..=high).contains(&character);
    }
    (found != negated).then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaned() {
        for (path, expected) in
            [("", "."), ("./db", "db"), ("a/../b/", "b"), ("../x", "../x"), ("/../a//b", "/a/b"), ("./", ".")]
        {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn matched() {
        for (pattern, name, expected) in [
            ("*", "app", true),
            ("app*", "app-debug", true),
            ("a?p", "app", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("*-x", "app", false),
            ("a*b*c", "aXbYc", true),
            ("[", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
