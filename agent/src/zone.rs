//! The availability zone that the node is in, by the instance metadata service: a label for those who look at metrics, and
//! nothing more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::StatusCode;
use tokio::time::timeout;

use crate::metadata::MetadataService;

/// How long the first stream waits for it.
const WITHIN: Duration = Duration::from_millis(500);
/// The longest name that is taken, in bytes.
const LONGEST: usize = 64;

/// The zone's name, asked for when it is first wanted; empty if the service does not say.
pub(crate) type Zone = Shared<BoxFuture<'static, String>>;

/// The zone that this service tells.
pub(crate) fn of(service: Arc<MetadataService>) -> Zone {
    let asked = async move {
        let asking = service.get("/latest/meta-data/placement/availability-zone", None);
        let Ok(Ok(answer)) = timeout(WITHIN, asking).await else { return String::new() };
        let zone = String::from_utf8(answer.body().to_vec()).unwrap_or_default();
        let is_zone = answer.status() == StatusCode::OK && is_name(&zone);
        if is_zone { zone } else { String::new() }
    };
    // In a task of its own: whoever wants the zone may go away, and a call to the service that nobody carries on would
    // keep everybody else from it.
    async { tokio::spawn(asked).await.unwrap_or_default() }.boxed().shared()
}

/// `eu-west-1a`, `us-west-2-lax-1a`.
fn is_name(text: &str) -> bool {
    text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fake::{FakeMetadata, Mode};

    #[tokio::test]
    async fn a_question_that_is_let_lie_keeps_nobody_else_from_asking() {
        let service = FakeMetadata::start(Mode::V2).await;
        let client = Arc::new(service.client());
        let zone = of(client.clone());
        assert!(zone.clone().now_or_never().is_none(), "asked, as by a stream that then ends");
        assert_eq!(
            client.get("/latest/meta-data/instance-id", None).await.map(|answer| answer.status()),
            Ok(StatusCode::OK)
        );
    }
}
