//! Writes events as core/v1 Events through the Kubernetes API. Needs create and patch on events.

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::{EventSink, PodEvent, SinkError};

/// `source.component` of every event.
const COMPONENT: &str = "kiam.server";

/// The events of a cluster.
#[derive(Clone)]
pub struct KubernetesEvents {
    client: Client,
}

impl KubernetesEvents {
    /// Writes through `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn events_beside(&self, event: &PodEvent) -> Api<Event> {
        Api::namespaced(self.client.clone(), &event.pod.namespace)
    }
}

#[async_trait]
impl EventSink for KubernetesEvents {
    async fn create(&self, event: &PodEvent) -> Result<(), SinkError> {
        let created = self.events_beside(event).create(&PostParams::default(), &core_event(event)).await;
        created.map(drop).map_err(|error| SinkError(error.to_string()))
    }

    async fn update(&self, event: &PodEvent) -> Result<(), SinkError> {
        let change = json!({ "count": event.count, "lastTimestamp": time(event.last), "message": event.message });
        let patched =
            self.events_beside(event).patch(&event.name, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.map(drop).map_err(|error| SinkError(error.to_string()))
    }
}

fn core_event(event: &PodEvent) -> Event {
    let pod = &event.pod;
    Event {
        metadata: ObjectMeta {
            name: Some(event.name.clone()),
            namespace: Some(pod.namespace.to_string()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(pod.namespace.to_string()),
            name: Some(pod.name.to_string()),
            uid: Some(pod.uid.to_string()),
            ..ObjectReference::default()
        },
        type_: Some("Warning".into()),
        reason: Some(event.reason.as_str().into()),
        message: Some(event.message.clone()),
        count: Some(event.count),
        first_timestamp: Some(time(event.first)),
        last_timestamp: Some(time(event.last)),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: None }),
        ..Event::default()
    }
}

/// core/v1 times have whole seconds.
fn time(instant: Timestamp) -> Time {
    Time(Timestamp::from_second(instant.as_second()).unwrap_or(instant))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::Value;

    use super::*;
    use crate::events::EventReason;
    use crate::fixtures::{directory, owner, pod};

    /// What an API server was sent: method, path and body.
    type Sent = Arc<Mutex<Vec<(String, String, Value)>>>;

    fn recording_client() -> (Client, Sent) {
        let sent = Sent::default();
        let recorded = Arc::clone(&sent);
        let service = tower::service_fn(move |request: Request<Body>| {
            let recorded = Arc::clone(&recorded);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap();
                recorded.lock().unwrap().push((parts.method.to_string(), parts.uri.path().to_owned(), body));
                let answer = json!({ "metadata": {}, "involvedObject": {} }).to_string();
                Ok::<_, Infallible>(Response::new(http_body_util::Full::new(bytes::Bytes::from(answer))))
            }
        });
        (Client::new(service, "default"), sent)
    }

    #[tokio::test]
    async fn events_are_created_and_patched_beside_the_pod() {
        let directory = directory();
        directory.apply_pod(&pod("a", "10.0.0.1", None));
        let first = "2026-11-21T10:00:00.75Z".parse().unwrap();
        let mut event = PodEvent {
            name: "a.1".into(),
            pod: owner(&directory, "10.0.0.1").await,
            reason: EventReason::RoleForbidden,
            message: "failed assuming role".into(),
            count: 1,
            first,
            last: first,
        };
        let (client, sent) = recording_client();
        let events = KubernetesEvents::new(client);
        events.create(&event).await.unwrap();
        (event.count, event.last) = (7, "2026-11-21T10:05:00Z".parse().unwrap());
        events.update(&event).await.unwrap();

        let sent = sent.lock().unwrap();
        let (method, path, body) = &sent[0];
        assert_eq!((method.as_str(), path.as_str()), ("POST", "/api/v1/namespaces/team/events"));
        for (pointer, value) in [
            ("/metadata/name", json!("a.1")),
            ("/metadata/namespace", json!("team")),
            ("/involvedObject/kind", json!("Pod")),
            ("/involvedObject/name", json!("a")),
            ("/involvedObject/uid", json!("uid-of-a")),
            ("/type", json!("Warning")),
            ("/reason", json!("KiamRoleForbidden")),
            ("/message", json!("failed assuming role")),
            ("/source/component", json!("kiam.server")),
            ("/count", json!(1)),
            ("/firstTimestamp", json!("2026-11-21T10:00:00Z")),
        ] {
            assert_eq!(body.pointer(pointer), Some(&value), "{pointer}");
        }
        let (method, path, body) = &sent[1];
        assert_eq!((method.as_str(), path.as_str()), ("PATCH", "/api/v1/namespaces/team/events/a.1"));
        let change = json!({ "count": 7, "lastTimestamp": "2026-11-21T10:05:00Z", "message": "failed assuming role" });
        assert_eq!(*body, change);
    }
}
