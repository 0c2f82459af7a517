//! No secret is anywhere but in the document that a pod asked for: searched for by value.

use kiam_common::testing::CapturedLog;

use super::*;

#[tokio::test]
async fn no_secret_is_in_logs_metrics_or_errors() {
    let log = CapturedLog::start();
    let stand = Stand::new().await;
    let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = stand.put_token(POD, &[ttl]).await.body;
    let own = ("x-aws-ec2-metadata-token", token.as_str());
    let given = stand.ask(POD, Method::GET, &format!("{LIST}reader"), &[own]).await;
    assert!(given.body.contains(SECRET) && given.body.contains(SESSION_TOKEN));

    let mut shown = String::new();
    shown += &stand.ask(OTHER, Method::GET, LIST, &[own]).await.body;
    shown += &stand.get(&format!("{LIST}other")).await.body;
    stand.server.set(POD, Pod::Role("reader", Credentials { expiration: String::new(), ..credentials() }));
    shown += &stand.get(&format!("{LIST}reader")).await.body;
    shown += &stand.get("/health").await.body;
    shown += &stand.metrics_text();
    shown += &log.text();
    assert!(shown.contains("Forbidden") && shown.contains("incomplete"), "{shown}");
    for secret in [SECRET, SESSION_TOKEN, &token, "session-1"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
