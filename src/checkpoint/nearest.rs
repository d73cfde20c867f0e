//! The hint for a wrong key: the key that was probably meant.

/// The weight of a differing layer number, in edits: `conv2` is another layer than `conv1`, but `conv_1` is probably
/// the same.
const OTHER_LAYER: usize = 3;

/// Returns the candidate closest to `wanted` by edit distance, preferring those with the same layer numbers.
pub(super) fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates.min_by_key(|candidate| cost(wanted, candidate)).map(str::to_owned)
}

fn cost(wanted: &str, candidate: &str) -> usize {
    let other_layer = !digits(wanted).eq(digits(candidate));
    strsim::damerau_levenshtein(wanted, candidate) + if other_layer { OTHER_LAYER } else { 0 }
}

fn digits(key: &str) -> impl Iterator<Item = char> {
    key.chars().filter(char::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_misspelling_is_nearer_than_the_neighbouring_layer() {
        let keys = ["mid_block.resnets.0.conv2.weight", "mid_block.resnets.0.conv_1.weight", "conv_in.weight"];
        let hint = nearest("mid_block.resnets.0.conv1.weight", keys.into_iter());
        assert_eq!(hint.as_deref(), Some("mid_block.resnets.0.conv_1.weight"));
    }

    #[test]
    fn without_candidates_there_is_no_hint() {
        assert_eq!(nearest("conv_in.weight", std::iter::empty()), None);
    }
}
