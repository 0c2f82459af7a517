//! The one place where kubectl insists on protobuf: `create namespace` and `auth can-i` send their object in it.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>

use std::collections::BTreeMap;

use prost::Message;
use serde_json::{Value, json};

use super::failure::Failure;

pub(super) const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

#[derive(Message)]
struct Envelope {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Message)]
struct Namespace {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
}

#[derive(Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
}

/// Reads a namespace, or a review that is answered whatever it asks.
pub(super) fn read(body: &[u8]) -> Result<Value, Failure> {
    let unreadable = || Failure::BadRequest("the body is not Kubernetes protobuf".into());
    let envelope = Envelope::decode(body.strip_prefix(MAGIC).ok_or_else(unreadable)?).map_err(|_| unreadable())?;
    let TypeMeta { api_version, kind } = envelope.type_meta.ok_or_else(unreadable)?;
    match kind.as_str() {
        "Namespace" => {
            let namespace = Namespace::decode(envelope.raw.as_slice()).map_err(|_| unreadable())?;
            let Metadata { name, labels, annotations } = namespace.metadata.unwrap_or_default();
            Ok(json!({"metadata": {"name": name, "labels": labels, "annotations": annotations}}))
        }
        "SelfSubjectAccessReview" => Ok(json!({"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": {}})),
        other => Err(Failure::MediaType(format!("{CONTENT_TYPE} of a {other}; send JSON"))),
    }
}
