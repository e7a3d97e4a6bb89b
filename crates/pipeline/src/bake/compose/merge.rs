//! One compose file over another: mappings key by key, lists one after the other.

use super::tree::{Branch, Tree};

/// Keys that are lists or mappings of the same, so that both forms can be laid over each other.
const PAIRS: [&str; 5] = ["args", "labels", "additional_contexts", "environment", "extra_hosts"];

/// Keys of which the later list takes the place of the earlier one.
const REPLACED: [&str; 2] = ["command", "entrypoint"];

/// Lays `over` over `base`.
pub(super) fn lay(key: &str, base: &Tree, over: &Tree) -> Tree {
    let (base, over) = match key {
        "build" => (with_context(base), with_context(over)),
        key if PAIRS.contains(&key) => (as_map(base), as_map(over)),
        _ => (base.clone(), over.clone()),
    };
    match (base.value, over.value) {
        (Branch::Map(mut entries), Branch::Map(more)) => {
            for (name, span, tree) in more {
                match entries.iter_mut().find(|(known, ..)| *known == name) {
                    Some(known) => *known = (name.clone(), span, lay(&name, &known.2, &tree)),
                    None => entries.push((name, span, tree)),
                }
            }
            Tree { value: Branch::Map(entries), span: over.span }
        }
        (Branch::List(mut items), Branch::List(more)) if !REPLACED.contains(&key) => {
            for item in more {
                if !items.iter().any(|known| same(known, &item)) {
                    items.push(item);
                }
            }
            Tree { value: Branch::List(items), span: over.span }
        }
        (value, Branch::Nothing) => Tree { value, span: base.span },
        (_, value) => Tree { value, span: over.span },
    }
}

fn same(a: &Tree, b: &Tree) -> bool {
    matches!((&a.value, &b.value), (Branch::Scalar(a, _), Branch::Scalar(b, _)) if a == b)
}

fn with_context(build: &Tree) -> Tree {
    match &build.value {
        Branch::Scalar(..) => {
            let entry = ("context".to_owned(), build.span, build.clone());
            Tree { value: Branch::Map(vec![entry]), span: build.span }
        }
        _ => build.clone(),
    }
}

fn as_map(tree: &Tree) -> Tree {
    let Branch::List(items) = &tree.value else { return tree.clone() };
    let entry = |item: &Tree| {
        let Branch::Scalar(text, _) = &item.value else { return None };
        Some(match text.split_once('=') {
            Some((name, value)) => {
                let value = Tree { value: Branch::Scalar(value.to_owned(), true), span: item.span };
                (name.to_owned(), item.span, value)
            }
            None => (text.clone(), item.span, Tree { value: Branch::Nothing, span: item.span }),
        })
    };
    match items.iter().map(entry).collect() {
        Some(entries) => Tree { value: Branch::Map(entries), span: tree.span },
        None => tree.clone(),
    }
}
