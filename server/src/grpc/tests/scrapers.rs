//! What agents are told of scrapers.

use kiam_proto::node::scrapers_client::ScrapersClient;
use kiam_proto::node::{ReviewRequest, Verdict};
use tonic::Code;

use super::Stand;

impl Stand {
    async fn review(&self, token: &str, path: &str) -> Result<Verdict, Code> {
        let request = ReviewRequest { token: token.into(), path: path.into() };
        let answer = ScrapersClient::new(self.channel.clone()).review(request).await;
        answer.map(|answer| answer.get_ref().verdict()).map_err(|status| status.code())
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_learns_whether_somebody_may_read_metrics() {
    let stand = Stand::new().await;
    for (token, path, verdict) in [
        ("allowed", "/metrics", Ok(Verdict::Allowed)),
        ("allowed", "/elsewhere", Ok(Verdict::NotAllowed)),
        ("unallowed", "/metrics", Ok(Verdict::NotAllowed)),
        ("forged", "/metrics", Ok(Verdict::UnknownToken)),
        ("outage", "/metrics", Err(Code::Unavailable)),
        ("allowed", "metrics", Err(Code::InvalidArgument)),
        ("allowed", &format!("/{}", "x".repeat(256)), Err(Code::InvalidArgument)),
    ] {
        assert_eq!(stand.review(token, path).await, verdict, "{token} {path}");
    }
}
