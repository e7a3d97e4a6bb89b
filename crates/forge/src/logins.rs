//! Registries that a CI host lets its jobs into, by what it puts into their environment.
//!
//! | host | registry | from |
//! |---|---|---|
//! | GitHub | `ghcr.io`, or `containers.HOST` of an own server | `GITHUB_TOKEN`, else `GH_TOKEN` |
//! | Forgejo, Gitea | the server itself | `FORGEJO_TOKEN`, `GITEA_TOKEN`, else `GITHUB_TOKEN` |
//! | GitLab | `CI_REGISTRY` | `CI_REGISTRY_USER` and `CI_REGISTRY_PASSWORD`, else `CI_JOB_TOKEN` |
//! | GitLab | `CI_DEPENDENCY_PROXY_SERVER` | `CI_DEPENDENCY_PROXY_USER` and `..._PASSWORD` |
//!
//! Source: GitHub Docs, "Working with the Container registry"; GitLab Docs, "Predefined CI/CD variables
//! reference"; Forgejo user guide, "Actions".

use oci::Registry;

use crate::Environment;

/// A user name and password for one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The only host they are for.
    pub registry: Registry,
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({} as {})", self.registry, self.username)
    }
}

/// Returns the logins that the environment of a job holds, in no particular order.
pub fn logins(environment: &Environment) -> Vec<Login> {
    [of_actions(environment), of_gitlab(environment), of_gitlab_proxy(environment)]
        .into_iter()
        .flatten()
        .collect()
}

fn of_actions(environment: &Environment) -> Option<Login> {
    let value = |name: &str| environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let is_set = |name: &str| value(name) == Some("true");
    let server = value("GITHUB_SERVER_URL").unwrap_or("https://github.com");
    let host = server.split("://").nth(1).unwrap_or(server).trim_end_matches('/');
    let (registry, names) = if is_set("FORGEJO_ACTIONS") || is_set("GITEA_ACTIONS") {
        (host.to_owned(), ["FORGEJO_TOKEN", "GITEA_TOKEN", "GITHUB_TOKEN"])
    } else if host == "github.com" {
        ("ghcr.io".to_owned(), ["GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"])
    } else {
        (format!("containers.{host}"), ["GITHUB_TOKEN", "GH_ENTERPRISE_TOKEN", "GITHUB_TOKEN"])
    };
    let password = names.into_iter().find_map(value)?.to_owned();
    let username = value("GITHUB_ACTOR").unwrap_or("token").to_owned();
    Some(Login { registry: registry.parse().ok()?, username, password })
}

fn of_gitlab(environment: &Environment) -> Option<Login> {
    let value = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
    let registry = value("CI_REGISTRY")?.parse().ok()?;
    let given = value("CI_REGISTRY_USER").zip(value("CI_REGISTRY_PASSWORD"));
    let (username, password) = match given {
        Some(given) => given,
        None => ("gitlab-ci-token".to_owned(), value("CI_JOB_TOKEN")?),
    };
    Some(Login { registry, username, password })
}

fn of_gitlab_proxy(environment: &Environment) -> Option<Login> {
    let value = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
    let server = value("CI_DEPENDENCY_PROXY_SERVER")?;
    // GitLab writes the usual port as well, which names in Dockerfiles leave out.
    let registry = server.trim_end_matches(":443").parse().ok()?;
    let (username, password) = (value("CI_DEPENDENCY_PROXY_USER")?, value("CI_DEPENDENCY_PROXY_PASSWORD")?);
    Some(Login { registry, username, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expected: &[&str]) {
        let environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let show = |login: Login| format!("{} {} {}", login.registry, login.username, login.password);
        assert_eq!(logins(&environment).into_iter().map(show).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn github() {
        check(&[], &[]);
        check(&[("GITHUB_TOKEN", "")], &[]);
        check(&[("GITHUB_TOKEN", "t"), ("GITHUB_ACTOR", "ann")], &["ghcr.io ann t"]);
        check(&[("GH_TOKEN", "t")], &["ghcr.io token t"]);
        let own = [("GITHUB_SERVER_URL", "https://ghe.example"), ("GITHUB_TOKEN", "t")];
        check(&own, &["containers.ghe.example token t"]);
    }

    #[test]
    fn forgejo() {
        let variables = [
            ("FORGEJO_ACTIONS", "true"),
            ("GITHUB_SERVER_URL", "https://codeberg.example/"),
            ("GITHUB_TOKEN", "t"),
        ];
        check(&variables, &["codeberg.example token t"]);
    }

    #[test]
    fn gitlab() {
        check(
            &[("CI_REGISTRY", "r.example:5050"), ("CI_JOB_TOKEN", "t")],
            &["r.example:5050 gitlab-ci-token t"],
        );
        let given = [("CI_REGISTRY", "r.example"), ("CI_REGISTRY_USER", "u"), ("CI_REGISTRY_PASSWORD", "p")];
        check(&given, &["r.example u p"]);
        let proxy = [
            ("CI_DEPENDENCY_PROXY_SERVER", "gitlab.example:443"),
            ("CI_DEPENDENCY_PROXY_USER", "u"),
            ("CI_DEPENDENCY_PROXY_PASSWORD", "p"),
        ];
        check(&proxy, &["gitlab.example u p"]);
        check(&[("CI_JOB_TOKEN", "t")], &[]);
    }
}
