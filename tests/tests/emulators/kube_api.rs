//! The Kubernetes API as kube's client and watcher see it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{Stream, StreamExt, pin_mut};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1 as core;
use kiam_tests::kube_api::{AccessRule, KubeApi, Pod, TokenUser};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use serde_json::json;

const ROLE: &str = "iam.amazonaws.com/role";

fn client(api: &KubeApi) -> Client {
    Client::try_from(kube::Config::new(api.url().parse().unwrap())).unwrap()
}

fn pods(api: &KubeApi) -> Api<core::Pod> {
    Api::all(client(api))
}

fn put_pods(api: &KubeApi, count: usize) {
    for number in 0..count {
        api.put_pod(&Pod::new("default", &format!("p{number}"), "node-a", "127.1.0.1", "reader"));
    }
}

/// The watcher's next event; waiting for one that never comes fails the test.
async fn next(events: &mut (impl Stream<Item = watcher::Result<Event<core::Pod>>> + Unpin)) -> Event<core::Pod> {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
        // Errors are what the watcher recovers from.
        if let Ok(event) = event.expect("an event comes").expect("the watcher does not end") {
            return event;
        }
    }
}

/// The names listed from `Init` to `InitDone`.
async fn first_list(events: &mut (impl Stream<Item = watcher::Result<Event<core::Pod>>> + Unpin)) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    loop {
        match next(events).await {
            Event::InitApply(pod) => assert!(names.insert(pod.name_any()), "listed twice"),
            Event::InitDone => return names,
            Event::Init => names.clear(),
            Event::Apply(_) | Event::Delete(_) => {}
        }
    }
}

#[tokio::test]
async fn a_paged_list_and_the_watch_after_it_miss_nothing() {
    let api = KubeApi::start().await.unwrap();
    put_pods(&api, 25);
    let events = watcher::watcher(pods(&api), watcher::Config::default().page_size(10)).boxed();
    pin_mut!(events);
    assert_eq!(first_list(&mut events).await.len(), 25);
    let pages = api.seen().iter().filter(|seen| seen.query.contains("limit=10")).count();
    assert_eq!(pages, 3);
    api.annotate_pod("default", "p3", ROLE, Some("writer"));
    assert!(matches!(next(&mut events).await, Event::Apply(pod) if pod.annotations()[ROLE] == "writer"));
    assert!(api.remove_pod("default", "p3"));
    assert!(matches!(next(&mut events).await, Event::Delete(pod) if pod.name_any() == "p3"));
}

#[tokio::test]
async fn a_streamed_list_is_marked_at_its_end() {
    let api = KubeApi::start().await.unwrap();
    put_pods(&api, 3);
    let events = watcher::watcher(pods(&api), watcher::Config::default().streaming_lists()).boxed();
    pin_mut!(events);
    assert_eq!(first_list(&mut events).await.len(), 3);
    put_pods(&api, 1);
    assert!(matches!(next(&mut events).await, Event::Apply(pod) if pod.name_any() == "p0"));
}

#[tokio::test]
async fn a_cut_watch_goes_on_where_it_was() {
    let api = KubeApi::start().await.unwrap();
    put_pods(&api, 1);
    let events = watcher::watcher(pods(&api), watcher::Config::default()).boxed();
    pin_mut!(events);
    first_list(&mut events).await;
    api.annotate_pod("default", "p0", ROLE, Some("first"));
    assert!(matches!(next(&mut events).await, Event::Apply(_)));
    api.drop_watches();
    api.annotate_pod("default", "p0", ROLE, Some("second"));
    assert!(matches!(next(&mut events).await, Event::Apply(pod) if pod.annotations()[ROLE] == "second"));
    let lists = api.seen().iter().filter(|seen| !seen.query.contains("watch")).count();
    assert_eq!(lists, 1);
}

#[tokio::test]
async fn a_watch_from_forgotten_history_is_gone_and_the_watcher_lists_again() {
    let api = KubeApi::start().await.unwrap();
    put_pods(&api, 2);
    let events = watcher::watcher(pods(&api), watcher::Config::default()).boxed();
    pin_mut!(events);
    first_list(&mut events).await;
    api.annotate_pod("default", "p0", ROLE, Some("told"));
    assert!(matches!(next(&mut events).await, Event::Apply(_)));
    api.forget_history();
    api.drop_watches();
    api.remove_pod("default", "p1");
    assert!(matches!(next(&mut events).await, Event::Init));
    assert_eq!(first_list(&mut events).await, BTreeSet::from(["p0".into()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_what_changes_while_the_api_is_away() {
    let mut api = KubeApi::start().await.unwrap();
    for _ in 0..100 {
        put_pods(&api, 1);
        let watch = pods(&api).watch(&WatchParams::default(), "").await.unwrap().boxed();
        pin_mut!(watch);
        assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
        api.go_away().await;
        assert!(api.remove_pod("default", "p0"));
        let told = watch.next().await;
        assert!(!matches!(told, Some(Ok(_))), "{told:?}");
        api.come_back().await.unwrap();
    }
}

#[tokio::test]
async fn old_revisions_and_old_pages_are_expired() {
    let api = KubeApi::start().await.unwrap();
    put_pods(&api, 3);
    let page = pods(&api).list(&ListParams::default().limit(1)).await.unwrap();
    assert_eq!(page.metadata.remaining_item_count, Some(2));
    api.forget_history();
    let token = page.metadata.continue_.unwrap();
    let expired = pods(&api).list(&ListParams::default().limit(1).continue_token(&token)).await.unwrap_err();
    assert!(matches!(expired, kube::Error::Api(status) if status.code == 410 && status.reason == "Expired"));
    let events = pods(&api).watch(&WatchParams::default(), "1").await.unwrap().boxed();
    pin_mut!(events);
    let first = events.next().await.unwrap().unwrap();
    assert!(matches!(first, WatchEvent::Error(status) if status.code == 410));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_watch_with_a_selector_tells_when_an_object_comes_and_goes() {
    let api = KubeApi::start().await.unwrap();
    put_pods(&api, 1);
    let start = pods(&api).list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let on_node_b = WatchParams::default().fields("spec.nodeName=node-b").timeout(1);
    let mut moved = Pod::new("default", "p0", "node-b", "127.1.0.1", "reader");
    api.put_pod(&moved);
    moved.node = "node-a".into();
    api.put_pod(&moved);
    let events = pods(&api).watch(&on_node_b, &start).await.unwrap();
    let told: Vec<_> = events
        .map(|event| match event.unwrap() {
            WatchEvent::Added(_) => "added",
            WatchEvent::Deleted(_) => "deleted",
            _ => "something else",
        })
        .take(2)
        .collect()
        .await;
    assert_eq!(told, ["added", "deleted"]);
}

#[tokio::test]
async fn an_object_that_cannot_be_decoded_is_served_as_it_is() {
    let api = KubeApi::start().await.unwrap();
    api.put_raw_pod(json!({"metadata": {"namespace": "default", "name": "odd"}, "spec": "not an object"}));
    assert!(pods(&api).list(&ListParams::default()).await.is_err());
    assert!(api.remove_pod("default", "odd"));
    assert!(pods(&api).list(&ListParams::default()).await.is_ok());
}

#[tokio::test]
async fn objects_are_created_changed_and_deleted_by_the_rules() {
    let api = KubeApi::start().await.unwrap();
    let pods: Api<core::Pod> = Api::namespaced(client(&api), "default");
    let pod: core::Pod = serde_json::from_value(json!({
        "metadata": {"name": "reader"},
        "spec": {"containers": [{"name": "main", "image": "app"}]},
    }))
    .unwrap();
    let code = |outcome: kube::Result<core::Pod>| match outcome {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("expected a refusal: {other:?}"),
    };
    let created = pods.create(&PostParams::default(), &pod).await.unwrap();
    assert_eq!(created.status.as_ref().unwrap().phase.as_deref(), Some("Pending"));
    assert_eq!(code(pods.create(&PostParams::default(), &pod).await), 409);
    let annotate = Patch::Merge(json!({"metadata": {"annotations": {ROLE: "reader"}}, "status": {"phase": "Failed"}}));
    let patched = pods.patch("reader", &PatchParams::default(), &annotate).await.unwrap();
    assert_eq!(patched.annotations()[ROLE], "reader");
    assert_eq!(patched.status.unwrap().phase.as_deref(), Some("Pending"), "the status has a path of its own");
    assert_eq!(code(pods.replace("reader", &PostParams::default(), &created).await), 409, "changed since it was read");
    let running = Patch::Merge(json!({"status": {"phase": "Running", "podIP": "127.1.0.1"}}));
    let running = pods.patch_status("reader", &PatchParams::default(), &running).await.unwrap();
    assert_eq!(running.status.unwrap().pod_ip.as_deref(), Some("127.1.0.1"));
    let again = pods.patch("reader", &PatchParams::default(), &annotate).await.unwrap();
    assert_eq!(again.metadata.resource_version, running.metadata.resource_version, "nothing has changed");
    pods.delete("reader", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(pods.get("reader").await), 404);
}

#[tokio::test]
async fn events_are_written_and_counted_up() {
    let api = KubeApi::start().await.unwrap();
    let events: Api<core::Event> = Api::namespaced(client(&api), "default");
    let event: core::Event = serde_json::from_value(json!({
        "metadata": {"name": "reader.1"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "reader"},
        "reason": "KiamRoleForbidden",
        "count": 1,
    }))
    .unwrap();
    events.create(&PostParams::default(), &event).await.unwrap();
    events.patch("reader.1", &PatchParams::default(), &Patch::Merge(json!({"count": 2}))).await.unwrap();
    let of_the_pod = ListParams::default().fields("involvedObject.name=reader");
    assert_eq!(events.list(&of_the_pod).await.unwrap().items[0].count, Some(2));
    assert_eq!(api.events()[0]["reason"], "KiamRoleForbidden");
}

#[tokio::test]
async fn a_namespace_takes_its_pods_along() {
    let api = KubeApi::start().await.unwrap();
    api.put_namespace("team-a", &[]);
    api.put_pod(&Pod::new("team-a", "reader", "node-a", "127.1.0.1", "reader"));
    let namespaces: Api<core::Namespace> = Api::all(client(&api));
    namespaces.delete("team-a", &DeleteParams::default()).await.unwrap();
    assert!(api.pods().is_empty());
    assert!(api.remove_namespace("default") && !api.remove_namespace("team-a"));
    assert!(namespaces.list(&ListParams::default()).await.unwrap().items.is_empty());
    let in_nowhere: Api<core::Pod> = Api::namespaced(client(&api), "team-a");
    let pod = serde_json::from_value(json!({"metadata": {"name": "reader"}})).unwrap();
    let refused = in_nowhere.create(&PostParams::default(), &pod).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 404 && status.message.contains("team-a")));
}

#[tokio::test]
async fn tokens_are_reviewed_for_their_audience() {
    let api = KubeApi::start().await.unwrap();
    let user = TokenUser {
        username: "system:serviceaccount:kiam:agent".into(),
        audiences: vec!["kiam-server".into()],
        extra: vec![("authentication.kubernetes.io/node-name".into(), "node-a".into())],
        ..TokenUser::default()
    };
    api.set_token("good", Some(user));
    let reviews: Api<TokenReview> = Api::all(client(&api));
    let review = async |token: &str, audience: &str| {
        let spec = TokenReviewSpec { token: Some(token.into()), audiences: Some(vec![audience.into()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap()
    };
    let good = review("good", "kiam-server").await;
    assert_eq!(good.authenticated, Some(true));
    assert_eq!(good.user.unwrap().extra.unwrap()["authentication.kubernetes.io/node-name"], ["node-a"]);
    assert_eq!(review("good", "somebody-else").await.authenticated, Some(false));
    assert_eq!(review("forged", "kiam-server").await.authenticated, Some(false));
}

#[tokio::test]
async fn access_is_reviewed_by_the_rules() {
    let api = KubeApi::start().await.unwrap();
    let rule =
        AccessRule { user: "kiam".into(), verb: "list".into(), resource: "pods".into(), ..AccessRule::default() };
    api.set_access_rules(vec![rule]);
    let reviews: Api<SubjectAccessReview> = Api::all(client(&api));
    let allowed = async |verb: &str| {
        let attributes = ResourceAttributes {
            verb: Some(verb.into()),
            resource: Some("pods".into()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some("kiam".into()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
    };
    assert!(allowed("list").await);
    assert!(!allowed("delete").await);
}
