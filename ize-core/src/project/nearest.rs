//! The nearest of several words to one that was mistyped.

/// Returns the candidate that was most probably meant, or `None` if none is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let tolerance = (word.chars().count() / 3).max(1) + 1;
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= tolerance && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

fn distance(word: &str, candidate: &str) -> usize {
    strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_the_word_that_was_meant() {
        let words = ["backend", "durability", "ignore", "engine"];
        assert_eq!(nearest("bakend", words), Some("backend"));
        assert_eq!(nearest("Ignroe", words), Some("ignore"));
        assert_eq!(nearest("durabilty", words), Some("durability"));
        assert_eq!(nearest("colour", words), None);
        assert_eq!(nearest("x", ["a", "b"]), None);
    }
}
