//! What Kiam v4 makes of a namespace's expression.

use kiam_common::role::RoleArn;
use regex::Regex;
use regex_syntax::ast::Ast;
use regex_syntax::ast::parse::Parser;

/// Whether Kiam lets a namespace's pods have a role: it puts the anchors around the text, and not around a group.
pub(super) fn permits(expression: &str, anchored: bool, arn: &RoleArn) -> bool {
    if expression.is_empty() {
        return false;
    }
    let expression = if anchored { format!("^{expression}$") } else { expression.to_owned() };
    Regex::new(&expression).is_ok_and(|expression| expression.is_match(arn.as_str()))
}

/// Whether an expression has an alternation that no group holds together, so that an anchor is for a part of it only.
pub(super) fn is_torn(expression: &str) -> bool {
    matches!(Parser::new().parse(expression), Ok(Ast::Alternation(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kiams_anchors_hold_the_first_and_the_last_of_several_only() {
        let arn = |name: &str| RoleArn::parse(&format!("arn:aws:iam::123456789012:role/{name}")).unwrap();
        assert!(permits(".*role/a|.*role/b", true, &arn("a-anything")));
        assert!(!permits(".*role/a", true, &arn("a-anything")));
        assert!(permits("role/a", false, &arn("a-anything")));
        assert!(!permits("", false, &arn("a")) && !permits("(", true, &arn("a")));
    }

    #[test]
    fn an_alternation_in_a_group_is_whole() {
        for (expression, torn) in [("a|b", true), ("(a|b)", false), ("[a|b]", false), (r"a\|b", false), ("(", false)] {
            assert_eq!(is_torn(expression), torn, "{expression}");
        }
    }
}
