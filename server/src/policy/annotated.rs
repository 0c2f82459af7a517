//! The first rule: a pod gets the role that it is annotated with and no other.

use kiam_common::role::RoleArn;

use super::{Decision, Denial};

/// Both sides are resolved, so that `reader`, `/reader` and its ARN are the same role.
pub fn decide(requested: &RoleArn, annotated: &RoleArn) -> Decision {
    if requested == annotated {
        return Decision::Allowed;
    }
    Decision::Denied(Denial::OtherRole { requested: requested.clone(), annotated: annotated.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_annotated_role_is_allowed() {
        let reader = RoleArn::parse("arn:aws:iam::123456789012:role/reader").unwrap();
        let writer = RoleArn::parse("arn:aws:iam::123456789012:role/writer").unwrap();
        assert_eq!(decide(&reader, &reader), Decision::Allowed);
        let Decision::Denied(denial) = decide(&writer, &reader) else { panic!("expected a denial") };
        let words = denial.to_string();
        assert!(words.contains("role/writer but is annotated with") && words.contains("role/reader"), "{words}");
    }
}
