//! The four kinds of patch.

use serde_json::Value;

use super::failure::Failure;
use super::strategic;

/// A change to an object.
#[derive(Clone, Debug)]
pub(super) enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(json_patch::Patch),
    /// Kubernetes' own: lists are merged by the key of their elements.
    Strategic(Value),
    /// Server-side apply, without the bookkeeping of who owns which field.
    Apply(Value),
}

impl Patch {
    /// Reads a patch by its content type.
    pub(super) fn read(content_type: &str, body: &[u8]) -> Result<Self, Failure> {
        let unreadable = |error: &dyn std::fmt::Display| Failure::BadRequest(format!("unreadable patch: {error}"));
        let value = || serde_json::from_slice(body).map_err(|error| unreadable(&error));
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => value().map(Self::Merge),
            "application/strategic-merge-patch+json" => value().map(Self::Strategic),
            "application/json-patch+json" => {
                serde_json::from_slice(body).map(Self::Json).map_err(|error| unreadable(&error))
            }
            // YAML, of which JSON is a part.
            "application/apply-patch+yaml" => {
                serde_norway::from_slice(body).map(Self::Apply).map_err(|error| unreadable(&error))
            }
            other => Err(Failure::MediaType(other.into())),
        }
    }

    /// The object after the patch.
    pub(super) fn applied_to(&self, object: &Value) -> Result<Value, Failure> {
        let mut patched = object.clone();
        match self {
            Self::Merge(patch) => json_patch::merge(&mut patched, patch),
            Self::Json(patch) => json_patch::patch(&mut patched, patch)
                .map_err(|error| Failure::BadRequest(format!("the server rejected our request: {error}")))?,
            Self::Strategic(patch) | Self::Apply(patch) => strategic::merge(&mut patched, patch),
        }
        Ok(patched)
    }
}
