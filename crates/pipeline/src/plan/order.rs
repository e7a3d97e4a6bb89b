//! The order of things that need each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::configuration::Name;

/// Things that need each other in a circle, each needing the next, the last the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle(Vec<Name>);

impl Circle {
    /// Returns the member that comes first by name.
    pub fn first(&self) -> &Name {
        &self.0[0]
    }
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|name| write!(f, "{name} -> "))?;
        write!(f, "{}", self.first())
    }
}

/// Returns `names` in waves: whatever a name needs is in an earlier wave, and a wave is in order
/// of name. What is needed and not among `names` does not count.
///
/// # Errors
/// One of the circles, where there is one.
pub fn waves<'a>(
    names: impl IntoIterator<Item = &'a Name>,
    needs: impl Fn(&Name) -> Vec<Name>,
) -> Result<Vec<Vec<Name>>, Circle> {
    let mut waiting: BTreeMap<Name, BTreeSet<Name>> =
        names.into_iter().map(|name| (name.clone(), needs(name).into_iter().collect())).collect();
    let known: BTreeSet<Name> = waiting.keys().cloned().collect();
    waiting.values_mut().for_each(|needed| needed.retain(|name| known.contains(name)));
    let mut waves = Vec::new();
    while !waiting.is_empty() {
        let ready: Vec<Name> =
            waiting.iter().filter(|(_, needed)| needed.is_empty()).map(|(name, _)| name.clone()).collect();
        if ready.is_empty() {
            return Err(circle(&waiting));
        }
        waiting.retain(|name, _| !ready.contains(name));
        waiting.values_mut().for_each(|needed| needed.retain(|name| !ready.contains(name)));
        waves.push(ready);
    }
    Ok(waves)
}

/// Follows needs until a name comes again; every name in `waiting` needs another one there.
fn circle(waiting: &BTreeMap<Name, BTreeSet<Name>>) -> Circle {
    let mut path: Vec<&Name> = Vec::new();
    let mut name = waiting.keys().next().expect("a circle has members");
    while !path.contains(&name) {
        path.push(name);
        name = waiting[name].first().expect("what waits needs something that waits");
    }
    let start = path.iter().position(|other| *other == name).expect("the name came again");
    let mut members: Vec<Name> = path[start..].iter().map(|name| (*name).clone()).collect();
    let least = (0..members.len()).min_by_key(|&at| members[at].clone()).expect("a circle has members");
    members.rotate_left(least);
    Circle(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(graph: &[(&str, &[&str])]) -> Result<String, String> {
        let name = |text: &&str| -> Name { text.parse().unwrap() };
        let graph: BTreeMap<Name, Vec<Name>> =
            graph.iter().map(|(n, needs)| (name(n), needs.iter().map(name).collect())).collect();
        let waves = waves(graph.keys(), |name| graph[name].clone()).map_err(|circle| circle.to_string())?;
        let wave = |names: &Vec<Name>| names.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
        Ok(waves.iter().map(wave).collect::<Vec<_>>().join(" | "))
    }

    #[test]
    fn what_is_needed_comes_first() {
        assert_eq!(order(&[]).unwrap(), "");
        assert_eq!(order(&[("web", &[]), ("api", &[])]).unwrap(), "api web");
        assert_eq!(order(&[("a", &["b"]), ("b", &["c"]), ("c", &[]), ("d", &["c"])]).unwrap(), "c | b d | a");
        assert_eq!(order(&[("a", &["elsewhere"])]).unwrap(), "a");
    }

    #[test]
    fn circles_are_named() {
        assert_eq!(order(&[("a", &["a"])]).unwrap_err(), "a -> a");
        assert_eq!(
            order(&[("x", &["c"]), ("c", &["b"]), ("b", &["a"]), ("a", &["c"])]).unwrap_err(),
            "a -> c -> b -> a"
        );
    }
}
