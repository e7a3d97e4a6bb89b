//! What somebody who mistyped a word probably meant.

/// Returns the word of `known` that is nearest to `word`, or `None` where none is near.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > 100 {
        return None;
    }
    let word = word.to_lowercase();
    let scored = known.into_iter().map(|candidate| {
        let distance = strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
        (distance, candidate)
    });
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    let allowed = (word.chars().count().max(candidate.len()) / 3).max(1);
    (distance <= allowed).then_some(candidate)
}

/// Returns `; did you mean X?` for a message, or nothing.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, known).map(|word| format!("; did you mean {word}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_only() {
        let known = ["context", "dockerfile", "target"];
        assert_eq!(closest("dockerfle", known), Some("dockerfile"));
        assert_eq!(closest("Context", known), Some("context"));
        assert_eq!(closest("tragte", known), Some("target"));
        assert_eq!(closest("volume", known), None);
        assert_eq!(closest("", known), None);
    }
}
