//! What names a role session: the role's ARN, the session name and the external id. Together they are the *role
//! identity*, the key under which credentials are kept: two pods share credentials only when all of it is equal.

use std::fmt;

/// The longest RoleSessionName that STS takes, in characters.
const SESSION_NAME_MAX: usize = 64;

/// An IAM role's ARN: `arn:<partition>:iam::<account>:role/<path and name>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleArn(Box<str>);

/// Why a text is not a role's ARN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArnError {
    /// A part is missing or is not what an ARN has there.
    #[error("{0:?} is not a role ARN: expected arn:<partition>:iam::<12-digit account>:role/<name>")]
    Shape(String),
    /// The path or name after `role/`, judged by IAM's rules (name at most 64 of `[A-Za-z0-9_+=,.@-]`, path at
    /// most 512 printable ASCII characters).
    #[error("{0:?} is not a role name: expected at most 64 of A-Z a-z 0-9 _ + = , . @ - after an optional path")]
    Name(String),
}

impl RoleArn {
    /// Parses an ARN of any partition and account.
    pub fn parse(text: &str) -> Result<Self, ArnError> {
        let shape = || ArnError::Shape(clipped(text));
        let mut parts = text.splitn(6, ':');
        let mut part = || parts.next().ok_or_else(shape);
        let (arn, partition, service, region, account, resource) =
            (part()?, part()?, part()?, part()?, part()?, part()?);
        let partition_is_sound = partition.starts_with("aws")
            && partition.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let account_is_sound = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if arn != "arn" || !partition_is_sound || service != "iam" || !region.is_empty() || !account_is_sound {
            return Err(shape());
        }
        let role = resource.strip_prefix("role/").ok_or_else(shape)?;
        let (path, name) = role.rsplit_once('/').unwrap_or(("", role));
        let name_is_sound = (1..=64).contains(&name.len()) && name.chars().all(is_name_char);
        let path_is_sound = path.len() <= 510 && path.bytes().all(|b| b.is_ascii_graphic());
        if !name_is_sound || !path_is_sound {
            return Err(ArnError::Name(clipped(role)));
        }
        Ok(Self(text.into()))
    }

    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 12-digit account that the role belongs to.
    pub fn account_id(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or_default()
    }

    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub fn partition(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A RoleSessionName: `kiam-` and a name, in the characters and length that STS takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionName(Box<str>);

impl SessionName {
    /// Makes a session name of any text: characters that STS refuses become `-`, and it is cut to 64.
    pub fn from_text(text: &str) -> Self {
        let sanitized = text.chars().map(|c| if is_name_char(c) { c } else { '-' });
        Self("kiam-".chars().chain(sanitized).take(SESSION_NAME_MAX).collect::<String>().into())
    }

    /// The name as it is sent to STS.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An ExternalId: what the role's trust policy may ask for besides the principal. Not a secret by AWS's definition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternalId(Box<str>);

/// Why a text is not an external id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an external id: expected 2 to 1224 of A-Z a-z 0-9 _ + = , . @ : / -")]
pub struct ExternalIdError(String);

impl ExternalId {
    /// Parses an external id by STS's rules.
    pub fn parse(text: &str) -> Result<Self, ExternalIdError> {
        let sound = (2..=1224).contains(&text.len()) && text.chars().all(|c| is_name_char(c) || c == ':' || c == '/');
        if sound { Ok(Self(text.into())) } else { Err(ExternalIdError(clipped(text))) }
    }

    /// The id as it is sent to STS.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// All that decides which credentials STS gives: the key of the vault.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleIdentity {
    /// The role to assume.
    pub arn: RoleArn,
    /// Shows up in CloudTrail and in the session's own ARN.
    pub session_name: SessionName,
    /// Sent only if the pod asks for one.
    pub external_id: Option<ExternalId>,
}

/// `\w+=,.@-`: what IAM role names and STS session names are made of.
fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
}

/// Enough of a text to recognise it in an error; annotations may be of any length.
fn clipped(text: &str) -> String {
    const LONGEST: usize = 120;
    if text.chars().count() <= LONGEST {
        return text.into();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_any_partition_and_path_are_parsed() {
        for text in [
            "arn:aws:iam::123456789012:role/reader",
            "arn:aws-cn:iam::123456789012:role/team/reader",
            "arn:aws-us-gov:iam::123456789012:role/a/b/c+d=e,f.g@h-i_j",
            "arn:aws-iso-b:iam::123456789012:role/x",
        ] {
            let arn = RoleArn::parse(text).unwrap();
            assert_eq!(arn.as_str(), text);
            assert_eq!(arn.account_id(), "123456789012");
        }
        assert_eq!(RoleArn::parse("arn:aws-cn:iam::123456789012:role/r").unwrap().partition(), "aws-cn");
    }

    #[test]
    fn what_is_no_role_arn_is_refused() {
        let long_name = format!("arn:aws:iam::123456789012:role/{}", "n".repeat(65));
        for text in [
            "",
            "arn:",
            "reader",
            "arn:aws:s3:::bucket",
            "arn:aws:iam::12345:role/reader",
            "arn:aws:iam::123456789012:user/reader",
            "arn:aws:iam:eu-west-1:123456789012:role/reader",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/team/",
            "arn:aws:iam::123456789012:role/re ader",
            "arn:aws:iam::123456789012:role/reader\n",
            "arn:aws:iam::123456789012:role/reäder",
            long_name.as_str(),
        ] {
            assert!(RoleArn::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_error_quotes_no_more_than_it_must() {
        let error = RoleArn::parse(&"x".repeat(100_000)).unwrap_err();
        assert!(error.to_string().len() < 300, "{}", error.to_string().len());
    }

    #[test]
    fn session_names_are_made_of_any_text() {
        assert_eq!(SessionName::from_text("kiam").as_str(), "kiam-kiam");
        assert_eq!(SessionName::from_text("a b/c:d\u{e9}").as_str(), "kiam-a-b-c-d-");
        assert_eq!(SessionName::from_text("A_z0+=,.@-").as_str(), "kiam-A_z0+=,.@-");
        assert_eq!(SessionName::from_text(&"x".repeat(100)).as_str().len(), 64);
        assert_eq!(SessionName::from_text("").as_str(), "kiam-");
    }

    #[test]
    fn external_ids_follow_the_rules_of_sts() {
        for text in ["ab", "A0_+=,.@:/-", &"x".repeat(1224)] {
            assert_eq!(ExternalId::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "a", "a b", "a\nb", "ä-b", &"x".repeat(1225)] {
            assert!(ExternalId::parse(text).is_err(), "{text:?}");
        }
    }
}
