//! Pods and namespaces as they are read from the Kubernetes API: only the fields that matter are decoded, and an object
//! that cannot be decoded arrives as an error that names it.

use std::borrow::Cow;
use std::net::IpAddr;

use kube::core::{ClusterResourceScope, NamespaceResourceScope, ObjectMeta, Resource};
use serde::{Deserialize, Deserializer};

use super::lenient::Lenient;
use crate::directory::namespaces::NamespaceFields;
use crate::directory::pods::PodFields;
use crate::policy::namespace::NamespaceAnnotations;
use crate::role::RoleAnnotations;

/// An object of a kind that is watched: its metadata for kube's watcher, and the fields for the index.
#[derive(Clone, Debug)]
pub(super) struct Watched<K: Kind> {
    meta: ObjectMeta,
    /// The fields, or why they could not be decoded.
    pub(super) fields: Result<K::Fields, String>,
}

/// A kind of object that is watched.
pub(super) trait Kind: Clone + Send + Sync + 'static {
    /// What is kept of it.
    type Fields: Clone + std::fmt::Debug + Send;
    /// Its form on the wire.
    type Wire: for<'de> Deserialize<'de> + Default;
    /// `NamespaceResourceScope` or `ClusterResourceScope`.
    type Scope;
    /// `Pod`
    const KIND: &'static str;
    /// `pods`
    const PLURAL: &'static str;

    /// Splits the wire form.
    fn split(wire: Self::Wire) -> (ObjectMeta, Result<Self::Fields, String>);
}

impl<K: Kind> Resource for Watched<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

impl<'de, K: Kind> Deserialize<'de> for Watched<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (meta, fields) = match Lenient::<K::Wire>::deserialize(deserializer)?.0 {
            Ok(wire) => K::split(wire),
            Err(error) => (ObjectMeta::default(), Err(error)),
        };
        Ok(Self { meta, fields })
    }
}

/// `kind: Pod`
#[derive(Clone, Debug)]
pub(super) struct Pods;

/// `kind: Namespace`
#[derive(Clone, Debug)]
pub(super) struct Namespaces;

/// `metadata`, without the annotations.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    name: Lenient<String>,
    namespace: Lenient<String>,
    uid: Lenient<String>,
    resource_version: Lenient<String>,
    annotations: Lenient<Annotations>,
}

/// What kube's watcher needs, of whatever could be decoded.
fn object_meta(meta: &Lenient<Meta>) -> ObjectMeta {
    let Ok(meta) = &meta.0 else { return ObjectMeta::default() };
    let text = |field: &Lenient<String>| field.0.as_ref().ok().filter(|text| !text.is_empty()).cloned();
    ObjectMeta {
        name: text(&meta.name),
        namespace: text(&meta.namespace),
        uid: text(&meta.uid),
        resource_version: text(&meta.resource_version),
        ..ObjectMeta::default()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "iam.amazonaws.com/role")]
    role: Lenient<String>,
    #[serde(rename = "iam.amazonaws.com/session-name")]
    session_name: Lenient<String>,
    #[serde(rename = "iam.amazonaws.com/external-id")]
    external_id: Lenient<String>,
    #[serde(rename = "iam.amazonaws.com/permitted")]
    permitted: Lenient<String>,
    #[serde(rename = "iam.amazonaws.com/allowed-roles")]
    allowed_roles: Lenient<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PodWire {
    metadata: Lenient<Meta>,
    spec: Lenient<PodSpec>,
    status: Lenient<PodStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: Lenient<String>,
    host_network: Lenient<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: Lenient<String>,
    #[serde(rename = "podIP")]
    pod_ip: Lenient<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Lenient<Vec<Lenient<Address>>>,
    #[serde(rename = "hostIP")]
    host_ip: Lenient<String>,
    #[serde(rename = "hostIPs")]
    host_ips: Lenient<Vec<Lenient<Address>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Address {
    ip: Lenient<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct NamespaceWire {
    metadata: Lenient<Meta>,
}

impl Kind for Pods {
    type Fields = PodFields;
    type Wire = PodWire;
    type Scope = NamespaceResourceScope;
    const KIND: &'static str = "Pod";
    const PLURAL: &'static str = "pods";

    fn split(wire: PodWire) -> (ObjectMeta, Result<PodFields, String>) {
        (object_meta(&wire.metadata), pod_fields(wire))
    }
}

impl Kind for Namespaces {
    type Fields = NamespaceFields;
    type Wire = NamespaceWire;
    type Scope = ClusterResourceScope;
    const KIND: &'static str = "Namespace";
    const PLURAL: &'static str = "namespaces";

    fn split(wire: NamespaceWire) -> (ObjectMeta, Result<NamespaceFields, String>) {
        (object_meta(&wire.metadata), namespace_fields(wire))
    }
}

fn pod_fields(wire: PodWire) -> Result<PodFields, String> {
    let meta = at("metadata", wire.metadata)?;
    let spec = at("spec", wire.spec)?;
    let status = at("status", wire.status)?;
    let annotations = at("metadata.annotations", meta.annotations)?;
    let phase = at("status.phase", status.phase)?;
    Ok(PodFields {
        uid: required("metadata.uid", meta.uid)?,
        namespace: required("metadata.namespace", meta.namespace)?,
        name: required("metadata.name", meta.name)?,
        node: optional("spec.nodeName", spec.node_name)?,
        host_network: at("spec.hostNetwork", spec.host_network)?,
        finished: phase == "Succeeded" || phase == "Failed",
        ips: ips(["status.podIP", "status.podIPs"], status.pod_ip, status.pod_ips)?,
        host_ips: ips(["status.hostIP", "status.hostIPs"], status.host_ip, status.host_ips)?,
        annotations: RoleAnnotations {
            role: optional(crate::role::ROLE, annotations.role)?,
            session_name: optional(crate::role::SESSION_NAME, annotations.session_name)?,
            external_id: optional(crate::role::EXTERNAL_ID, annotations.external_id)?,
        },
    })
}

fn namespace_fields(wire: NamespaceWire) -> Result<NamespaceFields, String> {
    let meta = at("metadata", wire.metadata)?;
    let annotations = at("metadata.annotations", meta.annotations)?;
    Ok(NamespaceFields {
        name: required("metadata.name", meta.name)?,
        annotations: NamespaceAnnotations {
            permitted: optional(crate::policy::namespace::PERMITTED, annotations.permitted)?,
            allowed_roles: optional(crate::policy::namespace::ALLOWED_ROLES, annotations.allowed_roles)?,
        },
    })
}

/// The addresses of two fields: the one that has the first of them, and the one that has all.
fn ips(
    [one, all]: [&str; 2],
    first: Lenient<String>,
    every: Lenient<Vec<Lenient<Address>>>,
) -> Result<Vec<IpAddr>, String> {
    let mut texts = vec![at(one, first)?];
    for address in at(all, every)? {
        texts.push(at(all, at(all, address)?.ip)?);
    }
    texts.retain(|text| !text.is_empty());
    texts.iter().map(|text| text.parse().map_err(|_| format!("{all}: {text:?} is not an IP address"))).collect()
}

fn at<T>(field: &str, value: Lenient<T>) -> Result<T, String> {
    value.0.map_err(|error| format!("{field}: {error}"))
}

fn optional(field: &str, value: Lenient<String>) -> Result<Option<String>, String> {
    Ok(Some(at(field, value)?).filter(|text| !text.is_empty()))
}

fn required(field: &str, value: Lenient<String>) -> Result<String, String> {
    let text = at(field, value)?;
    if text.is_empty() { Err(format!("{field}: missing")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::{Namespaces, Pods, Watched};

    #[test]
    fn every_field_of_a_sound_pod_is_read() {
        let pod: Watched<Pods> = serde_json::from_value(serde_json::json!({
            "metadata": {"uid": "u", "namespace": "ns", "name": "n", "annotations": {
                "iam.amazonaws.com/role": "reader", "iam.amazonaws.com/session-name": "session", "other": "x",
            }},
            "spec": {"nodeName": "node-a", "containers": []},
            "status": {
                "phase": "Running",
                "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "hostIP": "10.1.0.1", "hostIPs": [{"ip": "10.1.0.1"}],
            },
        }))
        .unwrap();
        let fields = pod.fields.unwrap();
        assert_eq!(fields.node.as_deref(), Some("node-a"));
        assert_eq!(fields.annotations.role.as_deref(), Some("reader"));
        assert_eq!(fields.annotations.session_name.as_deref(), Some("session"));
        assert_eq!(fields.annotations.external_id, None);
        assert_eq!(fields.ips.len(), 3);
        assert_eq!(fields.host_ips, [[10, 1, 0, 1], [10, 1, 0, 1]].map(std::net::IpAddr::from));
    }

    #[test]
    fn every_field_of_a_sound_namespace_is_read() {
        let namespace: Watched<Namespaces> = serde_json::from_value(serde_json::json!({
            "metadata": {"uid": "u", "name": "ns", "annotations": {
                "iam.amazonaws.com/permitted": ".*", "iam.amazonaws.com/allowed-roles": "[]",
            }},
        }))
        .unwrap();
        let annotations = namespace.fields.unwrap().annotations;
        assert_eq!(annotations.permitted.as_deref(), Some(".*"));
        assert_eq!(annotations.allowed_roles.as_deref(), Some("[]"));
    }
}
