//! The order of tags by priority, and of labels by key.
//!
//! Source: ECMA-262, "Array.prototype.sort", as V8 carries it out; Unicode collation, root order.

use std::cmp::Ordering;

use super::entry::TagEntry;

/// Puts tags in order: the highest priority first, equal ones as they came.
///
/// A priority that is no number equals every other, which is no order at all. What comes out then
/// depends on the sorting itself: a run at the start that is in order, the rest inserted by halving.
pub(super) fn by_priority(tags: &mut [TagEntry]) {
    if tags.iter().all(|tag| !tag.priority.is_nan()) {
        tags.sort_by(compare);
        return;
    }
    let start = run(tags);
    for at in start..tags.len() {
        let (mut left, mut right) = (0, at);
        while left < right {
            let middle = left + (right - left) / 2;
            if compare(&tags[at], &tags[middle]).is_lt() {
                right = middle;
            } else {
                left = middle + 1;
            }
        }
        tags[left..=at].rotate_right(1);
    }
}

/// Returns how many tags at the start are in order; turns them round where their order is reversed.
fn run(tags: &mut [TagEntry]) -> usize {
    if tags.len() < 2 {
        return tags.len();
    }
    let is_reversed = compare(&tags[1], &tags[0]).is_lt();
    let mut length = 2;
    while length < tags.len() && compare(&tags[length], &tags[length - 1]).is_lt() == is_reversed {
        length += 1;
    }
    if is_reversed {
        tags[..length].reverse();
    }
    length
}

fn compare(one: &TagEntry, other: &TagEntry) -> Ordering {
    other.priority.partial_cmp(&one.priority).unwrap_or(Ordering::Equal)
}

/// What a key is sorted by; see [`sort_key`].
pub(super) type SortKey = [Vec<u32>; 3];

/// Returns what keys are compared by as people sort them: punctuation, digits, letters; then accents,
/// then case, small letters first.
pub(super) fn sort_key(key: &str) -> SortKey {
    let mut levels = SortKey::default();
    for Weight { letter, accent, case } in key.chars().flat_map(weights) {
        for (level, weight) in levels.iter_mut().zip([letter, accent, case]) {
            if weight > 0 {
                level.push(weight);
            }
        }
    }
    levels
}

/// What a character counts at each level; zero counts nothing.
#[derive(Clone, Copy)]
struct Weight {
    letter: u32,
    accent: u32,
    case: u32,
}

/// ASCII in root order, without letters, which follow.
const ASCII: &str = "\t\n\u{b}\u{c}\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789";

/// Latin letters with accents: the letter, and the mark that makes the difference.
const ACCENTED: &str = "aàáâãäå cç eèéêë iìíîï nñ oòóôõö uùúûü yýÿ";

fn weights(character: char) -> [Weight; 2] {
    let none = Weight { letter: 0, accent: 0, case: 0 };
    let plain = |letter, case| [Weight { letter, accent: 1, case }, none];
    if let Some(place) = ASCII.find(character) {
        return plain(place as u32 + 1, 1);
    }
    let lower = character.to_lowercase().next().unwrap_or(character);
    let case = if lower == character { 1 } else { 2 };
    if lower.is_ascii_lowercase() {
        return plain(1000 + u32::from(lower), case);
    }
    if character < ' ' || character == '\u{7f}' {
        return [none, none];
    }
    if lower == 'ß' {
        let letter = Weight { letter: 1000 + u32::from('s'), accent: 1, case };
        return [letter, Weight { accent: 2, ..letter }];
    }
    let group = ACCENTED.split(' ').find(|group| group.contains(lower));
    if let Some((group, base)) = group.and_then(|group| Some((group, group.chars().next()?))) {
        let accent = group.chars().position(|letter| letter == lower).unwrap_or_default();
        let mark = Weight { letter: 0, accent: 1 + accent as u32, case: 1 };
        return [Weight { letter: 1000 + u32::from(base), accent: 1, case }, mark];
    }
    plain(10_000 + u32::from(lower), case)
}

#[cfg(test)]
mod tests {
    use super::sort_key;

    #[test]
    fn keys_are_sorted_as_people_sort_them() {
        let sorted = ["_", "-", ".", "0", "10", "2", "a", "A", "ä", "aa", "b", "B", "org.x", "org.X", "z"];
        let mut keys = sorted.to_vec();
        keys.reverse();
        keys.sort_by_cached_key(|key| sort_key(key));
        assert_eq!(keys, sorted);
    }
}
