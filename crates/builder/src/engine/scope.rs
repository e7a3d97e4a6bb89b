//! Variables of a stage: build arguments and environment.
//!
//! | where from | seen by expansion | seen by RUN | in the key and history |
//! |---|---|---|---|
//! | ENV, and the base image's environment | yes, over an ARG that stands above it | yes | yes |
//! | ARG of the stage with a value | yes | yes | yes |
//! | proxy arguments given, not declared | no | yes | no |
//! | ARG before the first FROM | in FROM, and in a stage that declares it again | no | no |
//!
//! Source: Dockerfile reference, "ARG", "Scope", "Predefined ARGs", "Automatic platform ARGs".

use std::collections::BTreeMap;

use oci::Platform;

/// Names that reach RUN without being declared. They name the network of the machine that builds
/// and not the image, so they are in no key and no history.
const PROXY_NAMES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What is the same for all stages: arguments given, the platform, and the global arguments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Globals {
    given: BTreeMap<String, String>,
    automatic: BTreeMap<String, String>,
    declared: BTreeMap<String, String>,
}

impl Globals {
    pub fn new(given: &BTreeMap<String, String>, target: &Platform, stage: &str) -> Self {
        let mut automatic = BTreeMap::new();
        for (prefix, platform) in [("TARGET", target), ("BUILD", &Platform::host())] {
            automatic.insert(format!("{prefix}PLATFORM"), platform.to_string());
            automatic.insert(format!("{prefix}OS"), platform.os.clone());
            automatic.insert(format!("{prefix}OSVERSION"), String::new());
            automatic.insert(format!("{prefix}ARCH"), platform.architecture.clone());
            automatic.insert(format!("{prefix}VARIANT"), platform.variant.clone().unwrap_or_default());
        }
        automatic.insert("TARGETSTAGE".to_owned(), stage.to_owned());
        Self { given: given.clone(), automatic, declared: BTreeMap::new() }
    }

    /// Declares an argument before the first FROM.
    pub fn declare(&mut self, name: &str, default: Option<String>) {
        let value = self.given.get(name).cloned().or(default).or_else(|| self.automatic.get(name).cloned());
        if let Some(value) = value {
            self.declared.insert(name.to_owned(), value);
        }
    }

    /// Returns what FROM sees.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.declared.get(name).or_else(|| self.automatic.get(name));
        value.map(String::as_str)
    }

    /// Returns the names given that no ARG of `declared` takes and that are not predefined.
    pub fn unused<'a>(&'a self, declared: &'a [String]) -> impl Iterator<Item = &'a str> {
        self.given.keys().map(String::as_str).filter(|name| {
            !declared.iter().any(|own| own == name)
                && !self.declared.contains_key(*name)
                && !PROXY_NAMES.contains(name)
                && *name != "SOURCE_DATE_EPOCH"
        })
    }
}

/// The variables of one stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Arguments in the order of their declaration.
    arguments: Vec<Declared>,
}

/// An argument of a stage; one without value is declared and empty-handed.
#[derive(Clone, Debug)]
struct Declared {
    name: String,
    value: Option<String>,
    /// Whether it stands below an ENV of its name, so that its value counts.
    over_environment: bool,
}

impl Scope {
    /// Declares an argument in the stage: a given value wins, then the default, then the global one.
    pub fn declare(&mut self, globals: &Globals, name: &str, default: Option<String>) {
        let value = globals.given.get(name).cloned().or(default);
        let value = value.or_else(|| globals.get(name).map(str::to_owned));
        let over_environment = value.is_some();
        match self.find_mut(name) {
            Some(known) => (known.value, known.over_environment) = (value, over_environment),
            None => self.arguments.push(Declared { name: name.to_owned(), value, over_environment }),
        }
    }

    /// Notes that ENV sets a name: from here on it wins over the argument.
    pub fn set_by_environment(&mut self, name: &str) {
        if let Some(known) = self.find_mut(name) {
            known.over_environment = false;
        }
    }

    fn find_mut(&mut self, name: &str) -> Option<&mut Declared> {
        self.arguments.iter_mut().find(|known| known.name == name)
    }

    /// Returns the value that expansion sees: of ENV and ARG, that of the later one.
    pub fn get<'a>(&'a self, environment: &'a [String], name: &str) -> Option<&'a str> {
        match self.arguments.iter().find(|known| known.name == name) {
            Some(argument) => argument.seen(environment),
            None => environment_value(environment, name),
        }
    }

    /// Returns `NAME=value` of each argument in the order of declaration, as the history has it; one without
    /// value is `NAME=`.
    pub fn arguments(&self, environment: &[String]) -> Vec<String> {
        let shown =
            |known: &Declared| format!("{}={}", known.name, known.seen(environment).unwrap_or_default());
        self.arguments.iter().map(shown).collect()
    }

    /// Returns the environment of a RUN step without the proxy settings: what its key holds.
    pub fn step_environment(&self, environment: &[String]) -> Vec<String> {
        let mut list = environment.to_vec();
        for argument in &self.arguments {
            if let Some(value) = argument.seen(environment) {
                set_environment(&mut list, &argument.name, value);
            }
        }
        list
    }
}

impl Declared {
    fn seen<'a>(&'a self, environment: &'a [String]) -> Option<&'a str> {
        let own = self.value.as_deref();
        let environment = environment_value(environment, &self.name);
        if self.over_environment { own.or(environment) } else { environment.or(own) }
    }
}

/// Returns the proxy settings given as arguments, for RUN alone.
pub(crate) fn proxy_environment(globals: &Globals) -> Vec<String> {
    let given = |name: &&str| globals.given.get(*name).map(|value| format!("{name}={value}"));
    PROXY_NAMES.iter().filter_map(given).collect()
}

/// Returns the value of `name` in a list of `NAME=value`; the last one counts.
pub(crate) fn environment_value<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    environment.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// Sets `name` in a list of `NAME=value`, keeping its place where it is there already.
pub(crate) fn set_environment(environment: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    let known = |own: &&mut String| own.split('=').next() == Some(name);
    match environment.iter_mut().find(known) {
        Some(own) => *own = entry,
        None => environment.push(entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globals(given: &[(&str, &str)]) -> Globals {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Globals::new(&given, &"linux/arm64".parse().unwrap(), "final")
    }

    fn scope(globals: &Globals, declarations: &[(&str, Option<&str>)]) -> Scope {
        let mut scope = Scope::default();
        for (name, default) in declarations {
            scope.declare(globals, name, default.map(str::to_owned));
        }
        scope
    }

    #[test]
    fn a_given_value_wins_over_the_default_and_the_global_one() {
        let mut globals = globals(&[("A", "given")]);
        globals.declare("A", Some("global".to_owned()));
        globals.declare("B", Some("global".to_owned()));
        let scope = scope(&globals, &[("A", Some("own")), ("B", None), ("C", Some("own")), ("D", None)]);
        assert_eq!(scope.get(&[], "A"), Some("given"));
        assert_eq!(scope.get(&[], "B"), Some("global"));
        assert_eq!(scope.get(&[], "C"), Some("own"));
        assert_eq!(scope.get(&[], "D"), None);
    }

    #[test]
    fn a_global_argument_is_not_seen_until_declared_again() {
        let mut globals = globals(&[]);
        globals.declare("A", Some("x".to_owned()));
        assert_eq!(globals.get("A"), Some("x"));
        assert_eq!(scope(&globals, &[]).get(&[], "A"), None);
    }

    #[test]
    fn of_env_and_arg_the_later_one_wins() {
        let mut scope = scope(&globals(&[]), &[("A", Some("argument")), ("B", None)]);
        let environment = vec!["A=environment".to_owned(), "B=b".to_owned()];
        assert_eq!(scope.get(&environment, "A"), Some("argument"));
        assert_eq!(scope.get(&environment, "B"), Some("b"));
        scope.set_by_environment("A");
        assert_eq!(scope.get(&environment, "A"), Some("environment"));
        assert_eq!(scope.arguments(&environment), ["A=environment", "B=b"]);
        assert_eq!(scope.step_environment(&environment), ["A=environment", "B=b"]);
    }

    #[test]
    fn platform_arguments_are_automatic_once_declared() {
        let scope = scope(&globals(&[]), &[("TARGETARCH", None)]);
        assert_eq!(scope.get(&[], "TARGETARCH"), Some("arm64"));
        assert_eq!(scope.get(&[], "TARGETOS"), None);
    }

    #[test]
    fn proxies_reach_steps_undeclared_and_count_as_used() {
        let globals = globals(&[("HTTP_PROXY", "http://p"), ("TYPO", "1")]);
        assert_eq!(proxy_environment(&globals), ["HTTP_PROXY=http://p"]);
        assert_eq!(globals.unused(&[]).collect::<Vec<_>>(), ["TYPO"]);
    }

    #[test]
    fn setting_keeps_the_place() {
        let mut environment = vec!["A=1".to_owned(), "B=2".to_owned()];
        set_environment(&mut environment, "A", "3");
        set_environment(&mut environment, "C", "4");
        assert_eq!(environment, ["A=3", "B=2", "C=4"]);
    }
}
