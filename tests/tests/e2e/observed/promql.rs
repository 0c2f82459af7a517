//! As much of Prometheus' language as it takes to find the series that an expression is about.

use std::collections::BTreeSet;

use regex::Regex;

/// What else in an expression looks like a name: its keywords. Functions are told by what follows them.
const KEYWORDS: [&str; 12] =
    ["and", "or", "unless", "offset", "bool", "by", "without", "on", "ignoring", "group_left", "group_right", "atan2"];

/// The selectors of an expression: names with their matchers, without ranges and offsets.
pub(super) fn selectors(expr: &str) -> BTreeSet<String> {
    // Lists of labels are no selectors.
    let labels = Regex::new(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)").expect("sound");
    let expr = labels.replace_all(expr, "");
    let numbers = r"\b[0-9][0-9a-z.]*";
    let selector = format!(r"{numbers}|([a-zA-Z_:][a-zA-Z0-9_:]*)?(\{{[^}}]*\}}|\b)\s*(\()?");
    let selector = Regex::new(&selector).expect("sound");
    let found = selector.captures_iter(&expr).filter_map(|found| {
        let (name, matchers) = (found.get(1).map_or("", |name| name.as_str()), found.get(2)?.as_str());
        let is_other = found.get(3).is_some() || KEYWORDS.contains(&name) || name.is_empty() && matchers.is_empty();
        (!is_other).then(|| format!("{name}{matchers}"))
    });
    found.collect()
}

#[test]
fn selectors_are_found_and_nothing_else_is() {
    for (expr, expected) in [
        ("a == 0", vec!["a"]),
        (r#"sum by (x, y) (rate(a{b=~"c|d"}[5m])) > 0.05"#, vec![r#"a{b=~"c|d"}"#]),
        ("a:b:c5m > 2 * (a:b:c5m offset 1h or vector(0))", vec!["a:b:c5m"]),
        ("a > 0 and on (x) time() - b > 10800", vec!["a", "b"]),
        (r#"min({__name__=~"a|b"}) - time()"#, vec![r#"{__name__=~"a|b"}"#]),
        (r#"absent(up{job="x"} == 1)"#, vec![r#"up{job="x"}"#]),
    ] {
        assert_eq!(selectors(expr).into_iter().collect::<Vec<_>>(), expected, "{expr}");
    }
}
