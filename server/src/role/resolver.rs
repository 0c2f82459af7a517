//! Turns what annotations and requests call a role into its ARN, and a pod's annotations into a role identity.
//! Called by the directory for each pod it learns of, and by [`crate::issue`] for each role that is asked for.

use std::str::FromStr;
use std::sync::Arc;

use kiam_common::role::{ArnError, ExternalId, RoleArn, RoleIdentity, SessionName};

use super::{AnnotatedRole, AnnotationError, PodRole, RoleAnnotations};

/// What goes in front of a role's name to make its ARN: `arn:aws:iam::123456789012:role/`, perhaps with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseArn(Arc<str>);

impl FromStr for BaseArn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let completed = RoleArn::parse(&format!("{text}role"));
        if text.ends_with('/') && completed.is_ok() {
            return Ok(Self(text.into()));
        }
        Err("expected arn:<partition>:iam::<12-digit account>:role/, ending in a slash".into())
    }
}

impl BaseArn {
    /// The prefix of the roles without a path in an account.
    pub fn of_account(partition: &str, account_id: &str) -> Result<Self, String> {
        format!("arn:{partition}:iam::{account_id}:role/").parse()
    }

    /// The ARN, or pattern of ARNs, that a name stands for: a leading slash is dropped, and what does not start with
    /// `arn:` gets the base in front.
    pub fn complete(&self, name: &str) -> String {
        if name.starts_with("arn:") {
            return name.to_owned();
        }
        format!("{}{}", self.0, name.strip_prefix('/').unwrap_or(name))
    }
}

/// Resolves roles with the settings of this server.
#[derive(Clone, Debug)]
pub struct Resolver {
    base: BaseArn,
    default_session: SessionName,
}

impl Resolver {
    /// `default_session` is for pods that name no session themselves.
    pub fn new(base: BaseArn, default_session: SessionName) -> Self {
        Self { base, default_session }
    }

    /// The ARN that a role's name, path and name, or ARN stands for.
    pub fn arn(&self, role: &str) -> Result<RoleArn, ArnError> {
        if role.is_empty() {
            return Err(ArnError::Shape(String::new()));
        }
        RoleArn::parse(&self.base.complete(role))
    }

    /// Reads a pod's annotations.
    pub fn pod_role(&self, annotations: &RoleAnnotations) -> PodRole {
        let Some(text) = non_empty(annotations.role.as_deref()) else { return PodRole::Absent };
        match self.identity(text, annotations) {
            Ok(identity) => PodRole::Annotated(AnnotatedRole { text: text.into(), identity: Arc::new(identity) }),
            Err(error) => PodRole::Invalid(Arc::new(error)),
        }
    }

    fn identity(&self, role: &str, annotations: &RoleAnnotations) -> Result<RoleIdentity, AnnotationError> {
        let session_name = non_empty(annotations.session_name.as_deref()).map(SessionName::from_text);
        let external_id = non_empty(annotations.external_id.as_deref()).map(ExternalId::parse).transpose();
        Ok(RoleIdentity {
            arn: self.arn(role).map_err(AnnotationError::Role)?,
            session_name: session_name.unwrap_or_else(|| self.default_session.clone()),
            external_id: external_id.map_err(AnnotationError::ExternalId)?,
        })
    }
}

fn non_empty(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver() -> Resolver {
        let base = "arn:aws:iam::123456789012:role/".parse().unwrap();
        Resolver::new(base, SessionName::from_text("kiam"))
    }

    fn annotations(role: &str, session_name: Option<&str>, external_id: Option<&str>) -> RoleAnnotations {
        RoleAnnotations {
            role: Some(role.into()),
            session_name: session_name.map(Into::into),
            external_id: external_id.map(Into::into),
        }
    }

    #[test]
    fn names_paths_and_arns_resolve() {
        let resolver = resolver();
        for (role, arn) in [
            ("reader", "arn:aws:iam::123456789012:role/reader"),
            ("/reader", "arn:aws:iam::123456789012:role/reader"),
            ("/team/reader", "arn:aws:iam::123456789012:role/team/reader"),
            ("team/reader", "arn:aws:iam::123456789012:role/team/reader"),
            ("arn:aws-cn:iam::999999999999:role/x", "arn:aws-cn:iam::999999999999:role/x"),
        ] {
            assert_eq!(resolver.arn(role).unwrap().as_str(), arn);
        }
        for role in ["", "/", "a b", "arn:aws:s3:::bucket", "arn:"] {
            assert!(resolver.arn(role).is_err(), "{role:?}");
        }
    }

    #[test]
    fn a_base_arn_may_have_a_path_and_must_end_in_a_slash() {
        let base: BaseArn = "arn:aws-us-gov:iam::123456789012:role/teams/".parse().unwrap();
        assert_eq!(base.complete("/reader"), "arn:aws-us-gov:iam::123456789012:role/teams/reader");
        for text in ["", "arn:aws:iam::123456789012:role", "arn:aws:iam::1:role/", "arn:aws:iam::123456789012:user/"] {
            assert!(text.parse::<BaseArn>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_identity_has_the_pods_session_name_and_external_id() {
        let PodRole::Annotated(role) = resolver().pod_role(&annotations("/reader", Some("my job"), Some("x-1"))) else {
            panic!("expected a role")
        };
        assert_eq!(&*role.text, "/reader");
        assert_eq!(role.identity.session_name.as_str(), "kiam-my-job");
        assert_eq!(role.identity.external_id.as_ref().unwrap().as_str(), "x-1");
    }

    #[test]
    fn without_annotations_the_session_is_the_servers() {
        let PodRole::Annotated(role) = resolver().pod_role(&annotations("reader", Some(""), Some(""))) else {
            panic!("expected a role")
        };
        assert_eq!(role.identity.session_name.as_str(), "kiam-kiam");
        assert_eq!(role.identity.external_id, None);
    }

    #[test]
    fn an_absent_or_empty_role_is_no_role() {
        assert_eq!(resolver().pod_role(&RoleAnnotations::default()), PodRole::Absent);
        assert_eq!(resolver().pod_role(&annotations("", None, Some("x-1"))), PodRole::Absent);
    }

    #[test]
    fn what_sts_would_not_take_is_invalid_and_says_which_annotation() {
        for (annotations, key) in [
            (annotations("a b", None, None), "iam.amazonaws.com/role"),
            (annotations("reader", None, Some("x")), "iam.amazonaws.com/external-id"),
        ] {
            let PodRole::Invalid(error) = resolver().pod_role(&annotations) else { panic!("expected an error") };
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
