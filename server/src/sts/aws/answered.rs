//! When STS answered, by its own clock: the `Date` header, which the AWS SDK's output does not show.

use std::sync::{Arc, OnceLock};

use aws_sdk_sts::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::primitives::{DateTime, DateTimeFormat};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use jiff::Timestamp;

/// Reads the date of one call's answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered(Arc<OnceLock<Timestamp>>);

impl Answered {
    /// The date, if there was an answer with one that can be read.
    pub(super) fn date(&self) -> Option<Timestamp> {
        self.0.get().copied()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Answered {
    fn name(&self) -> &'static str {
        "Answered"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context
            .response()
            .headers()
            .get("date")
            .and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        if let Some(date) = date.and_then(|date| Timestamp::from_second(date.secs()).ok()) {
            self.0.get_or_init(|| date);
        }
        Ok(())
    }
}
