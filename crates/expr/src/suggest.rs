//! "Did you mean": the nearest of the names that would have been right.

/// The candidate closest to `given`, when one is close enough to be a likely slip of the pen.
///
/// Closeness is the Damerau-Levenshtein distance on lower-cased text; at most a third of the length may differ, so that
/// short names do not suggest everything.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let allowed = (given.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&given, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn test_nearest_finds_slips_and_refuses_strangers() {
        let names = ["equals", "contains", "starts_with"];
        assert_eq!(nearest("equal", names), Some("equals"));
        assert_eq!(nearest("Contians", names), Some("contains"));
        assert_eq!(nearest("startswith", names), Some("starts_with"));
        assert_eq!(nearest("matches", names), None);
        assert_eq!(nearest("", names), None);
    }
}
