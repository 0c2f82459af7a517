//! The second rule: a pod's namespace must permit the role. Kiam's way is a regular expression over the resolved
//! ARN; kube2iam's a JSON array of globs. Both are compiled once, when the namespace changes, into a
//! [`NamespaceRule`]; anything that is missing, empty or unusable permits nothing.

use std::fmt;

use kiam_common::role::RoleArn;
use regex::{Regex, RegexBuilder};

use super::{Decision, Denial};
use crate::role::resolver::BaseArn;

/// Namespace annotation: Kiam's regular expression.
pub const PERMITTED: &str = "iam.amazonaws.com/permitted";
/// Namespace annotation: kube2iam's globs.
pub const ALLOWED_ROLES: &str = "iam.amazonaws.com/allowed-roles";

/// The most memory that one compiled expression may take, in bytes. An annotation that needs more is refused.
const COMPILED_SIZE_LIMIT: usize = 1 << 20;

/// How much of an annotation a refusal shows, in characters.
const LONGEST_SHOWN: usize = 200;

/// The annotations of a namespace that say which roles it permits, as they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceAnnotations {
    /// [`PERMITTED`]
    pub permitted: Option<String>,
    /// [`ALLOWED_ROLES`]
    pub allowed_roles: Option<String>,
}

/// Which annotation decides, and how it is read.
#[derive(Clone, Debug)]
pub enum NamespacePolicy {
    /// [`PERMITTED`]
    Permitted {
        /// The expression must match the whole ARN, not a part of it.
        anchored: bool,
    },
    /// [`ALLOWED_ROLES`]
    Kube2iam {
        /// Completes the patterns that are not ARNs.
        base: BaseArn,
    },
}

impl NamespacePolicy {
    /// Compiles what a namespace permits.
    pub fn compile(&self, annotations: &NamespaceAnnotations) -> NamespaceRule {
        let (annotation, text) = match self {
            Self::Permitted { .. } => (PERMITTED, annotations.permitted.as_deref()),
            Self::Kube2iam { .. } => (ALLOWED_ROLES, annotations.allowed_roles.as_deref()),
        };
        let text = text.unwrap_or_default();
        let matcher = if text.is_empty() { Matcher::Nothing } else { self.matcher(text) };
        NamespaceRule { annotation, text: text.into(), matcher }
    }

    fn matcher(&self, text: &str) -> Matcher {
        let expression = match self {
            Self::Permitted { anchored: false } => Ok(text.to_owned()),
            Self::Permitted { anchored: true } => Ok(anchor(text)),
            Self::Kube2iam { base } => expression_of_globs(text, base),
        };
        let compiled = expression.and_then(|expression| {
            // The author's own text first: an unbalanced `)` must not close the group that anchors it.
            if matches!(self, Self::Permitted { .. }) {
                compile(text)?;
            }
            compile(&expression)
        });
        match compiled {
            Ok(regex) => Matcher::Expression(regex),
            Err(why) => Matcher::Unusable(why),
        }
    }
}

/// What one namespace permits, ready to be asked.
#[derive(Debug)]
pub struct NamespaceRule {
    annotation: &'static str,
    text: Box<str>,
    matcher: Matcher,
}

impl fmt::Display for NamespaceRule {
    /// The annotation, and enough of its text to recognise it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.annotation, self.shown())
    }
}

#[derive(Debug)]
enum Matcher {
    Nothing,
    Unusable(String),
    Expression(Regex),
}

impl NamespaceRule {
    /// Whether the namespace permits a role.
    pub fn decide(&self, arn: &RoleArn) -> Decision {
        let annotation = self.annotation;
        match &self.matcher {
            Matcher::Expression(regex) if regex.is_match(arn.as_str()) => Decision::Allowed,
            Matcher::Expression(_) => {
                Decision::Denied(Denial::NotPermitted { arn: arn.clone(), annotation, rule: self.shown() })
            }
            Matcher::Nothing => Decision::Denied(Denial::NothingPermitted { annotation }),
            Matcher::Unusable(why) => Decision::Denied(Denial::RuleUnusable { annotation, why: why.clone() }),
        }
    }

    /// Why the annotation cannot be understood, if it cannot.
    pub fn unusable(&self) -> Option<&str> {
        match &self.matcher {
            Matcher::Unusable(why) => Some(why),
            Matcher::Nothing | Matcher::Expression(_) => None,
        }
    }

    /// Enough of the text to recognise it: every pod that is refused is told, and annotations may be of any length.
    fn shown(&self) -> String {
        self.text.chars().take(LONGEST_SHOWN).collect()
    }

    /// Whether another rule was compiled from the same text.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.annotation == other.annotation && self.text == other.text
    }
}

/// The group keeps an alternation inside the anchors: `a|b` is `^(?:a|b)$`, never `^a` or `b$`.
fn anchor(expression: &str) -> String {
    format!("^(?:{expression})$")
}

/// kube2iam's array of globs, in which only `*` is special and stands for any text, as one expression.
fn expression_of_globs(json: &str, base: &BaseArn) -> Result<String, String> {
    let globs: Vec<String> = serde_json::from_str(json)
        .map_err(|error| format!("expected a JSON array of role names, ARNs and globs: {error}"))?;
    let glob = |glob: &String| base.complete(glob).split('*').map(regex::escape).collect::<Vec<_>>().join(".*");
    if globs.is_empty() {
        return Err("the array is empty".into());
    }
    Ok(anchor(&globs.iter().map(glob).collect::<Vec<_>>().join("|")))
}

fn compile(expression: &str) -> Result<Regex, String> {
    RegexBuilder::new(expression).size_limit(COMPILED_SIZE_LIMIT).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("the compiled expression needs more than {limit} bytes"),
        // The parser's report shows the expression with carets under it; its last line says what is wrong.
        error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: &str = "arn:aws:iam::123456789012:role/reader";

    fn arn(text: &str) -> RoleArn {
        RoleArn::parse(text).unwrap()
    }

    fn permitted(text: &str, anchored: bool) -> NamespaceRule {
        let annotations = NamespaceAnnotations { permitted: Some(text.into()), ..Default::default() };
        NamespacePolicy::Permitted { anchored }.compile(&annotations)
    }

    fn kube2iam(text: &str) -> NamespaceRule {
        let annotations = NamespaceAnnotations { allowed_roles: Some(text.into()), ..Default::default() };
        let base = "arn:aws:iam::123456789012:role/".parse().unwrap();
        NamespacePolicy::Kube2iam { base }.compile(&annotations)
    }

    fn why(rule: &NamespaceRule, asked: &str) -> String {
        match rule.decide(&arn(asked)) {
            Decision::Allowed => panic!("{asked} was allowed by {rule:?}"),
            Decision::Denied(denial) => denial.to_string(),
        }
    }

    #[test]
    fn the_expression_is_matched_against_the_whole_resolved_arn() {
        for expression in [".*", ".*role/reader", "arn:aws:iam::123456789012:role/(reader|writer)"] {
            assert_eq!(permitted(expression, true).decide(&arn(READER)), Decision::Allowed, "{expression}");
        }
        for expression in ["reader", "read", "arn:aws:iam::123456789012:role/rea", ".*:role/READER"] {
            assert!(why(&permitted(expression, true), READER).contains("does not match"), "{expression}");
        }
    }

    #[test]
    fn alternation_does_not_slip_out_of_the_anchors() {
        let rule = permitted(".*:role/a|.*:role/b", true);
        assert_eq!(rule.decide(&arn("arn:aws:iam::123456789012:role/a")), Decision::Allowed);
        assert_eq!(rule.decide(&arn("arn:aws:iam::123456789012:role/b")), Decision::Allowed);
        why(&rule, "arn:aws:iam::123456789012:role/a-anything");
        why(&permitted("arn:aws:iam::123456789012:role/x|role/b", true), "arn:aws:iam::999999999999:role/b");
    }

    #[test]
    fn a_group_closed_by_the_author_does_not_open_the_anchors() {
        for expression in [".*)|(?:.*", "x)|(.*", "(?x) .* # "] {
            assert!(why(&permitted(expression, true), READER).contains("permits no role"), "{expression}");
        }
    }

    #[test]
    fn without_anchors_a_part_of_the_arn_is_enough() {
        assert_eq!(permitted("read", false).decide(&arn(READER)), Decision::Allowed);
        why(&permitted("write", false), READER);
    }

    #[test]
    fn an_absent_or_empty_annotation_permits_nothing() {
        for rule in [
            permitted("", true),
            NamespacePolicy::Permitted { anchored: false }.compile(&NamespaceAnnotations::default()),
        ] {
            assert!(why(&rule, READER).contains("no iam.amazonaws.com/permitted annotation"));
        }
        assert!(why(&kube2iam(""), READER).contains("no iam.amazonaws.com/allowed-roles annotation"));
    }

    #[test]
    fn an_expression_that_does_not_compile_permits_nothing_and_says_why() {
        assert!(why(&permitted("(", true), READER).contains("unclosed group"));
        assert!(why(&permitted("[z-a]", true), READER).contains("invalid character class range"));
    }

    #[test]
    fn an_expression_built_to_explode_is_refused_within_its_memory() {
        assert!(why(&permitted("(((.{1000}){1000}){1000})", true), READER).contains("needs more than"));
        assert!(why(&permitted(&"(".repeat(100_000), true), READER).len() < 300);
    }

    #[test]
    fn globs_match_arns_and_names_in_the_servers_account() {
        for globs in [
            r#"["reader"]"#,
            r#"["/reader"]"#,
            r#"["re*"]"#,
            r#"["*"]"#,
            r#"["other", "arn:aws:iam::123456789012:role/*"]"#,
            r#"["arn:*:role/reader"]"#,
        ] {
            assert_eq!(kube2iam(globs).decide(&arn(READER)), Decision::Allowed, "{globs}");
        }
        for globs in [r#"["read"]"#, r#"["r.*"]"#, r#"["reade?"]"#, r#"["other|reader"]"#] {
            why(&kube2iam(globs), READER);
        }
        why(&kube2iam(r#"["*"]"#), "arn:aws:iam::999999999999:role/reader");
    }

    #[test]
    fn globs_cross_the_slashes_of_a_path() {
        let rule = kube2iam(r#"["team/*"]"#);
        assert_eq!(rule.decide(&arn("arn:aws:iam::123456789012:role/team/a/b")), Decision::Allowed);
        why(&rule, READER);
    }

    #[test]
    fn malformed_globs_permit_nothing_and_say_why() {
        for json in ["reader", r#"{"a": 1}"#, "[1]", r#"["reader""#] {
            assert!(why(&kube2iam(json), READER).contains("expected a JSON array"), "{json}");
        }
        assert!(why(&kube2iam("[]"), READER).contains("the array is empty"));
    }

    #[test]
    fn each_policy_reads_its_own_annotation() {
        let annotations = NamespaceAnnotations { permitted: Some(".*".into()), allowed_roles: None };
        let base = "arn:aws:iam::123456789012:role/".parse().unwrap();
        assert!(why(&NamespacePolicy::Kube2iam { base }.compile(&annotations), READER).contains("allowed-roles"));
    }
}
