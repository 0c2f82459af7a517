//! The AWS SDKs in pods, unmodified and with nothing set at all: they ask the real address.

use kiam_common::testing::metrics;
use kiam_tests::netns::{World, inside};
use kiam_tests::real::clients::Sdk;
use kiam_tests::real::http::{LOCALHOST, get};

use crate::backends::{BINARY, Backend};

#[test]
fn every_sdk_has_its_pods_role_by_a_session_token_with_nothing_set() {
    inside(async {
        let mut world = World::start(BINARY).await;
        let pod = world.pod("eni1");
        let agent = world.agent(&Backend::Nftables.flags("eni+"), "").await.unwrap();
        let sts = world.sts_for_pods().await;
        let tokens = async || {
            let text = get(LOCALHOST, agent.addresses().ops, "/metrics").await.body;
            metrics::value(&text, r#"kiam_metadata_responses_total{code="200",handler="token"}"#).unwrap()
        };
        let rust = Sdk::Rust(env!("CARGO_BIN_EXE_kiam-test-client"));
        for sdk in [Sdk::Boto3, Sdk::AwsCli, Sdk::JavaScript, rust] {
            let before = tokens().await;
            let found = sdk.find_credentials_in(pod.namespace.name(), &sts).await.unwrap();
            assert!(found.caller_arn.contains(&format!("assumed-role/{}/", pod.role)), "{sdk:?}: {found:?}");
            assert!(tokens().await > before, "{sdk:?} asked without a session token");
        }
        assert_eq!(world.metadata.seen(), (0, 0));
    });
}
