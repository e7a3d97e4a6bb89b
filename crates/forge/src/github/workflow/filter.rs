//! Which events `on:` lets start a workflow.
//!
//! Source: GitHub's documentation, "Workflow syntax", "Filter pattern cheat sheet".

use pipeline::yaml::{Node, Value};
use regex::Regex;

/// What `on:` says.
pub(super) struct Triggers<'a> {
    on: &'a Node,
}

impl<'a> Triggers<'a> {
    pub(super) fn new(on: &'a Node) -> Self {
        Self { on }
    }

    /// Returns the names of the events, in order.
    pub(super) fn names(&self) -> Vec<&'a str> {
        match &self.on.value {
            Value::Mapping(entries) => entries.iter().filter_map(|(key, _)| key.text()).collect(),
            Value::Sequence(items) => items.iter().filter_map(Node::text).collect(),
            _ => self.on.text().into_iter().collect(),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names().contains(&name)
    }

    /// Returns what stands below an event.
    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        self.on.get(name)
    }

    /// Returns the patterns of an event's filter, such as `branches` of `push`.
    pub(super) fn patterns(&self, event: &str, filter: &str) -> Vec<&'a str> {
        let node = self.get(event).and_then(|event| event.get(filter));
        match node.map(|node| &node.value) {
            Some(Value::Sequence(items)) => items.iter().filter_map(Node::text).collect(),
            _ => node.and_then(Node::text).into_iter().collect(),
        }
    }

    /// Whether a push of a branch or tag starts the workflow. With a filter for one of the two only, the
    /// other starts nothing.
    pub(super) fn push(&self, kind: Pushed, name: &str) -> bool {
        if !self.has("push") {
            return false;
        }
        let (own, other) = match kind {
            Pushed::Branch => (["branches", "branches-ignore"], ["tags", "tags-ignore"]),
            Pushed::Tag => (["tags", "tags-ignore"], ["branches", "branches-ignore"]),
        };
        let has = |filter: &str| self.get("push").is_some_and(|push| push.get(filter).is_some());
        if !has(own[0]) && !has(own[1]) {
            return !has(other[0]) && !has(other[1]);
        }
        self.passes("push", own, name)
    }

    /// Whether a pull request into `base` starts the workflow.
    pub(super) fn pull_request(&self, event: &str, base: &str) -> bool {
        self.has(event) && self.passes(event, ["branches", "branches-ignore"], base)
    }

    fn passes(&self, event: &str, [included, ignored]: [&str; 2], name: &str) -> bool {
        let (included, ignored) = (self.patterns(event, included), self.patterns(event, ignored));
        (included.is_empty() || matches(&included, name)) && (ignored.is_empty() || !matches(&ignored, name))
    }

    /// Whether an event has an action that starts the workflow, such as `published` of a release.
    pub(super) fn acts(&self, event: &str, action: &str) -> bool {
        let types = self.patterns(event, "types");
        self.has(event) && (types.is_empty() || types.contains(&action))
    }
}

/// What a push is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Branch,
    Tag,
}

/// Whether the last pattern that says something about `name` lets it in.
pub(super) fn matches(patterns: &[&str], name: &str) -> bool {
    let mut is_in = false;
    for pattern in patterns {
        let (pattern, wanted) = match pattern.strip_prefix('!') {
            Some(pattern) => (pattern, false),
            None => (*pattern, true),
        };
        if expression(pattern).is_some_and(|expression| expression.is_match(name)) {
            is_in = wanted;
        }
    }
    is_in
}

/// `*` stops at a slash and `**` does not; `?` and `+` repeat what stands before them.
fn expression(pattern: &str) -> Option<Regex> {
    let mut expression = String::from(r"\A(?:");
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.next_if_eq(&'*').is_some() => expression.push_str(".*"),
            '*' => expression.push_str("[^/]*"),
            '?' | '+' | '[' | ']' => expression.push(character),
            '-' => expression.push('-'),
            '\\' => {
                let next = characters.next().unwrap_or('\\');
                expression.push_str(&regex::escape(&next.to_string()));
            }
            other => expression.push_str(&regex::escape(&other.to_string())),
        }
    }
    expression.push_str(r")\z");
    regex::RegexBuilder::new(&expression).size_limit(1 << 20).build().ok()
}

/// Returns a name that a pattern lets in, with characters in it that tags treat in their own way.
pub(super) fn example(pattern: &str) -> String {
    let mut name = String::new();
    let mut characters = pattern.trim_start_matches('!').chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.next_if_eq(&'*').is_some() => name.push_str("Deep_er/x.1"),
            '*' => name.push_str("Wide_r"),
            '?' | '+' => {}
            '[' => {
                name.push(characters.next().unwrap_or('a'));
                let _ = characters.by_ref().find(|character| *character == ']');
            }
            '\\' => name.extend(characters.next()),
            other => name.push(other),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(patterns: &[&str], name: &str, expected: bool) {
        assert_eq!(matches(patterns, name), expected, "{patterns:?} {name}");
    }

    #[test]
    fn patterns_of_the_documentation() {
        check(&["main"], "main", true);
        check(&["main"], "mainly", false);
        check(&["feature/*"], "feature/a", true);
        check(&["feature/*"], "feature/a/b", false);
        check(&["feature/**"], "feature/a/b", true);
        check(&["*"], "a/b", false);
        check(&["**"], "a/b", true);
        check(&["v[12].[0-9]+.[0-9]+"], "v1.10.1", true);
        check(&["v2*"], "v2.9", true);
        check(&["jpe?g"], "jpg", true);
        check(&["**", "!dependabot/**"], "dependabot/x", false);
        check(&["!a", "a"], "a", true);
        check(&["v*.*.*"], "v1.2.3", true);
        check(&["v*.*.*"], "v1.2", false);
        check(&["["], "[", false);
    }

    #[test]
    fn examples_pass_their_own_pattern() {
        for pattern in ["main", "v*", "v*.*.*", "release/**", "v[0-9]+.[0-9]+.[0-9]+", "**", "jpe?g"] {
            check(&[pattern], &example(pattern), true);
        }
    }

    #[track_caller]
    fn check_push(on: &str, kind: Pushed, name: &str, expected: bool) {
        let node = pipeline::yaml::read(on).unwrap();
        assert_eq!(Triggers::new(&node).push(kind, name), expected, "{on} {name}");
    }

    #[test]
    fn a_filter_for_one_shuts_the_other_out() {
        check_push("push", Pushed::Tag, "v1", true);
        check_push("[push, pull_request]", Pushed::Branch, "x", true);
        check_push("{push: {branches: [main]}}", Pushed::Tag, "v1", false);
        check_push("{push: {branches: [main]}}", Pushed::Branch, "main", true);
        check_push("{push: {tags: 'v*'}}", Pushed::Branch, "main", false);
        check_push("{push: {branches: [main], tags: ['v*']}}", Pushed::Tag, "v1", true);
        check_push("{push: {branches-ignore: [main]}}", Pushed::Branch, "main", false);
        check_push("{push: {branches-ignore: [main]}}", Pushed::Branch, "x", true);
        check_push("pull_request", Pushed::Branch, "x", false);
        check_push("{push: }", Pushed::Branch, "x", true);
    }
}
