//! F3: the Kubernetes API goes away, and comes back with a history that begins anew.

use http::StatusCode;
use kiam_tests::real::eventually;
use tokio::time::sleep;

use crate::load::Load;
use crate::rig::{NAMESPACE, Rig, alone, outage, pod_name};

#[test]
fn an_outage_of_the_kubernetes_api_fails_no_request_and_loses_no_change() {
    alone(async {
        let mut rig = Rig::start(&[]).await;
        let (removed, mut changed) = (rig.add_pod(100), rig.add_pod(101));
        for pod in [&removed, &changed] {
            pod.waits_for_its_role().await;
        }
        let load = Load::start(&rig.pods);
        rig.stack.kube.go_away().await;
        rig.stack.kube.remove_pod(NAMESPACE, &pod_name(100));
        rig.stack.kube.annotate_pod(NAMESPACE, &pod_name(101), "iam.amazonaws.com/role", Some("other"));
        let added = rig.add_pod(102);
        sleep(outage()).await;
        for pod in [&removed, &changed] {
            assert_eq!(pod.role_now().await.1, pod.role, "nobody knows better yet");
        }
        rig.stack.kube.forget_history();
        rig.stack.kube.come_back().await.expect("the port is still free");
        changed.role = "other".into();
        for pod in [&changed, &added] {
            pod.waits_for_its_role().await;
        }
        eventually("the removed pod to be gone", async || {
            (removed.role_now().await.0 == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
        let tally = load.stop(&rig.stack.sts).await;
        println!("F3: {tally}; the Kubernetes API away for {:?}", outage());
        tally.assert_none_failed();
    });
}
