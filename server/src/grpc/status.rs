//! How an error leaves over gRPC: its reason, its words, and the code of STS.

use kiam_common::reason::Refusal;
use tonic::Status;

use crate::error::Error;

/// The status for an error. Code and message for each reason are those of [`Refusal`], which agents read back.
pub(super) fn status(error: &Error) -> Status {
    refusal(error).to_status()
}

/// The error as a value that agents understand.
pub(super) fn refusal(error: &Error) -> Refusal {
    let aws_code = error.aws_code().map(Into::into);
    Refusal { reason: error.reason(), message: error.to_string(), aws_code }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kiam_common::reason::Reason;
    use tonic::Code;

    use super::*;
    use crate::policy::Denial;
    use crate::sts::{StsError, StsErrorKind};

    #[test]
    fn the_two_messages_that_kiams_agents_compare_are_kept() {
        let unknown = status(&Error::PodNotFound("10.0.0.1".parse().unwrap()));
        assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "no pod found"));
        let denial = Denial::NothingPermitted { annotation: "iam.amazonaws.com/permitted" };
        let forbidden = status(&Error::Forbidden(denial));
        assert_eq!((forbidden.code(), forbidden.message()), (Code::PermissionDenied, "forbidden by policy"));
        assert!(Refusal::from_status(&forbidden).message.contains("permits no role"));
    }

    #[test]
    fn the_code_of_sts_goes_along() {
        for (kind, reason, code) in [
            (StsErrorKind::Refused, Reason::StsRefused, Code::FailedPrecondition),
            (StsErrorKind::Unavailable, Reason::StsUnavailable, Code::Unavailable),
            (StsErrorKind::OwnCredentials, Reason::StsUnavailable, Code::Unavailable),
        ] {
            let error = StsError { kind, code: Some("AccessDenied".into()), message: "not you".into() };
            let status = status(&Error::Sts(Arc::new(error)));
            assert_eq!(status.code(), code);
            let refusal = Refusal::from_status(&status);
            assert_eq!(refusal.reason, reason);
            assert_eq!(refusal.aws_code.as_deref(), Some("AccessDenied"));
            assert_eq!(refusal.message, "AccessDenied: not you");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_an_invalid_argument() {
        assert_eq!(status(&Error::BadIp("x".into())).code(), Code::InvalidArgument);
    }
}
