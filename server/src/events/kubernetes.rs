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
