//! Whether the rules in the kernel are the wanted ones: each carries its own words as a comment, and these are
//! compared, in order. Whoever changes a rule by hand changes or loses its comment.

use super::rule::Rule;

/// A rule as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its comment; empty if it has none.
    pub(crate) words: String,
    /// How many packets it was for.
    pub(crate) packets: u64,
}

/// The sum of all packets, or the first difference.
pub(crate) fn compare<'a>(wanted: impl IntoIterator<Item = &'a Rule>, seen: &[Seen]) -> Result<u64, String> {
    let mut seen = seen.iter();
    let mut packets = 0;
    for rule in wanted {
        match seen.next() {
            None => return Err(format!("missing: {rule}")),
            Some(found) if found.words != rule.to_string() => {
                return Err(format!("in the place of {:?} is {:?}", rule.to_string(), found.words));
            }
            Some(found) => packets += found.packets,
        }
    }
    match seen.next() {
        Some(more) => Err(format!("one too many: {:?}", more.words)),
        None => Ok(packets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intercept::rule::tests::plan;

    fn seen(rules: &[Rule]) -> Vec<Seen> {
        rules.iter().map(|rule| Seen { words: rule.to_string(), packets: 2 }).collect()
    }

    #[test]
    fn the_same_rules_are_whole_and_their_packets_are_added() {
        let wanted = plan("eni+", "10.0.0.1").closing();
        assert_eq!(compare(&wanted, &seen(&wanted)), Ok(8));
    }

    #[test]
    fn each_difference_is_found_and_named() {
        let wanted = plan("eni+", "10.0.0.1").closing();
        let whole = seen(&wanted);
        let mut swapped = whole.clone();
        swapped.swap(0, 1);
        let mut without_words = whole.clone();
        without_words[3].words.clear();
        let stranger = Seen { words: "mine".into(), packets: 0 };
        for (found, named) in [
            (whole[..3].to_vec(), "missing: kiam: from eni+ to fd00:ec2::23"),
            (whole[1..].to_vec(), "in the place of \"kiam: from eni+ to 169.254.169.254: closed\""),
            (swapped, "is \"kiam: from eni+ to fd00:ec2::254"),
            (without_words, "is \"\""),
            ([whole.as_slice(), &[stranger]].concat(), "one too many: \"mine\""),
            (Vec::new(), "missing: kiam: from eni+ to 169.254.169.254"),
        ] {
            let difference = compare(&wanted, &found).unwrap_err();
            assert!(difference.contains(named), "{difference}");
        }
    }
}
