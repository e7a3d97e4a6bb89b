//! Addresses of remotes as web addresses.

/// Returns the address of a remote as people open it in a browser: without credentials, without
/// `.git`; `None` for a path or a scheme that no browser opens.
pub(super) fn web_address(remote: &str) -> Option<String> {
    let remote = remote.trim();
    if remote.contains(char::is_control) {
        return None;
    }
    let (host, path, scheme) = match remote.split_once("://") {
        Some((scheme @ ("https" | "http"), rest)) => {
            let (host, path) = rest.split_once('/')?;
            (without_user(host), path, scheme)
        }
        Some(("ssh" | "git" | "git+ssh", rest)) => {
            let (host, path) = rest.split_once('/')?;
            (without_port(without_user(host)), path, "https")
        }
        Some(_) => return None,
        None => {
            let (host, path) =
                remote.split_once(':').filter(|(host, _)| !host.contains('/') && host.len() > 1)?;
            (without_user(host), path, "https")
        }
    };
    let path = path.trim_matches('/').strip_suffix(".git").unwrap_or(path.trim_matches('/'));
    if host.is_empty() || path.is_empty() || path.contains(['?', '#', ' ']) {
        return None;
    }
    Some(format!("{scheme}://{host}/{path}"))
}

fn without_user(host: &str) -> &str {
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(remote: &str, expected: &str) {
        assert_eq!(web_address(remote).as_deref(), Some(expected));
    }

    #[test]
    fn every_way_to_write_a_remote() {
        check("https://github.com/acme/shop.git", "https://github.com/acme/shop");
        check("https://user:token@github.com/acme/shop", "https://github.com/acme/shop");
        check("git@github.com:acme/shop.git", "https://github.com/acme/shop");
        check("ssh://git@github.com:22/acme/shop.git/", "https://github.com/acme/shop");
        check("http://git.example.com:3000/a/b.git", "http://git.example.com:3000/a/b");
    }

    #[test]
    fn what_no_browser_opens_is_none() {
        for remote in [
            "",
            "/srv/git/shop.git",
            "../shop",
            "file:///srv/shop",
            "C:\\shop",
            "https://github.com",
            "https:///x",
        ] {
            assert_eq!(web_address(remote), None, "{remote}");
        }
    }
}
