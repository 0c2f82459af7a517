//! What people write into annotations: role, session name and external id of a pod, and what a namespace permits.
//! Whatever it is, reading it ends; what comes out is what STS takes; and no rule permits more than it says.

use kiam_common::role::{RoleArn, SessionName};
use kiam_server::policy::Decision;
use kiam_server::policy::namespace::{NamespaceAnnotations, NamespacePolicy};
use kiam_server::role::resolver::{BaseArn, Resolver};
use kiam_server::role::{AnnotatedRole, PodRole, RoleAnnotations};

use super::{Broken, Target, Way, way};

const BASE: &str = "arn:aws:iam::123456789012:role/";

/// An input is five lines: role, session name, external id, the namespace's expression, the namespace's globs.
#[derive(Debug)]
pub struct Annotations {
    resolver: Resolver,
    base: BaseArn,
    probes: Vec<RoleArn>,
}

impl Default for Annotations {
    fn default() -> Self {
        let base: BaseArn = BASE.parse().expect("a base");
        let probes = ["reader", "team/reader", "a", "reader-b"].map(|name| format!("{BASE}{name}"));
        let probes = probes.iter().map(|arn| RoleArn::parse(arn).expect("an ARN")).collect();
        Self { resolver: Resolver::new(base.clone(), SessionName::from_text("kiam")), base, probes }
    }
}

impl Annotations {
    fn take_one(&self, input: &[u8]) -> Result<Way, String> {
        let text = String::from_utf8_lossy(input);
        let mut lines = text.splitn(5, '\n').map(|line| Some(line.to_owned()));
        let mut line = || lines.next().flatten();
        let pod = RoleAnnotations { role: line(), session_name: line(), external_id: line() };
        let (permitted, allowed_roles) = (line(), line());
        let kind = match self.resolver.pod_role(&pod) {
            PodRole::Absent => "absent".into(),
            PodRole::Invalid(error) => error.to_string().chars().take(40).collect(),
            PodRole::Annotated(role) => {
                check_identity(&role)?;
                "annotated".to_owned()
            }
        };
        let decisions = self.check_expression(permitted)? + &self.check_globs(allowed_roles)?;
        Ok(way((kind + &decisions).as_bytes()))
    }

    /// An anchored rule permits no more than the same rule unanchored, and what is no expression permits nothing.
    fn check_expression(&self, permitted: Option<String>) -> Result<String, String> {
        let sound = permitted.as_deref().is_some_and(|text| regex::Regex::new(text).is_ok());
        let annotations = NamespaceAnnotations { permitted, ..NamespaceAnnotations::default() };
        let rule = |anchored| NamespacePolicy::Permitted { anchored }.compile(&annotations);
        let (anchored, loose) = (rule(true), rule(false));
        let mut decisions = String::new();
        for arn in &self.probes {
            let allowed = anchored.decide(arn) == Decision::Allowed;
            if allowed && (!sound || loose.decide(arn) != Decision::Allowed) {
                return Err(format!("{:?} permits {arn:?}, which it does not match", annotations.permitted));
            }
            decisions.push(if allowed { 'y' } else { 'n' });
        }
        Ok(decisions)
    }

    /// Globs permit what they match, by a matcher that knows no expressions.
    fn check_globs(&self, allowed_roles: Option<String>) -> Result<String, String> {
        let globs: Vec<String> = serde_json::from_str(allowed_roles.as_deref().unwrap_or_default()).unwrap_or_default();
        let annotations = NamespaceAnnotations { allowed_roles, ..NamespaceAnnotations::default() };
        let rule = NamespacePolicy::Kube2iam { base: self.base.clone() }.compile(&annotations);
        let mut decisions = String::new();
        for arn in &self.probes {
            let allowed = rule.decide(arn) == Decision::Allowed;
            let matches = globs.iter().any(|glob| matches_glob(complete(glob).as_bytes(), arn.as_str().as_bytes()));
            // What is too big to compile permits nothing.
            if allowed && !matches || matches && !allowed && globs.concat().len() < 1000 {
                return Err(format!("{globs:?} permits {arn:?}: {allowed}; it matches: {matches}"));
            }
            decisions.push(if allowed { 'y' } else { 'n' });
        }
        Ok(decisions)
    }
}

fn complete(glob: &str) -> String {
    if glob.starts_with("arn:") { glob.into() } else { [BASE, glob.strip_prefix('/').unwrap_or(glob)].concat() }
}

fn matches_glob(glob: &[u8], text: &[u8]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for part in glob {
        if *part == b'*' {
            let first = reached.iter().position(|is| *is).unwrap_or(reached.len());
            reached[first..].fill(true);
        } else {
            for at in (0..text.len()).rev() {
                reached[at + 1] = reached[at] && text[at] == *part;
            }
            reached[0] = false;
        }
    }
    reached[text.len()]
}

/// By the words of STS's documentation, not of the code.
fn check_identity(role: &AnnotatedRole) -> Result<(), String> {
    let identity = &role.identity;
    let arn = identity.arn.as_str();
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let sound = matches!(parts.as_slice(), ["arn", partition, "iam", "", account, resource]
        if partition.starts_with("aws") && account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())
            && resource.starts_with("role/") && resource.len() > 5);
    if !sound || arn.len() > 2048 || !arn.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{:?} became {arn:?}", role.text));
    }
    let in_set = |text: &str, also: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || also.contains(&b));
    let session = identity.session_name.as_str();
    if !(2..=64).contains(&session.len()) || !in_set(session, b"_+=,.@-") || !session.starts_with("kiam-") {
        return Err(format!("the session is named {session:?}"));
    }
    match identity.external_id.as_ref().map(kiam_common::role::ExternalId::as_str) {
        Some(id) if !(2..=1224).contains(&id.len()) || !in_set(id, b"_+=,.@:/-") => {
            Err(format!("the external id is {id:?}"))
        }
        Some(_) | None => Ok(()),
    }
}

impl Target for Annotations {
    fn name(&self) -> &'static str {
        "annotations"
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"arn:aws:iam::123456789012:role/",
            b"reader",
            b"team/",
            b"/",
            b":",
            b"|",
            b"(?:",
            b")",
            b".*",
            b"{1000}",
            b"(?i)",
            b"(?m)^",
            b"$",
            b"[^a]",
            b"\\",
            b"\"",
            b"[\"*\"]",
            b"*",
            b",",
            b"\n",
            b"\xc3\xb6",
        ]
    }

    fn take(&mut self, inputs: &[Vec<u8>]) -> Result<Vec<Way>, Broken> {
        let take = |(input, text): (usize, &Vec<u8>)| self.take_one(text).map_err(|why| Broken { input, why });
        inputs.iter().enumerate().map(take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_kube2iam_says() {
        for (glob, text, matches) in
            [("*", "", true), ("a*c", "abc", true), ("a*c", "abd", false), ("a", "ab", false), ("*b*", "abc", true)]
        {
            assert_eq!(matches_glob(glob.as_bytes(), text.as_bytes()), matches, "{glob} {text}");
        }
    }
}
