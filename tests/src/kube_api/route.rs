//! Paths of the API and what they name.

use std::borrow::Cow;

use super::failure::Failure;
use super::kind::Kind;
use super::objects::Place;

/// What a path below `/api/v1` names.
#[derive(Debug)]
pub(super) enum Target {
    /// All objects of a kind, of one namespace or of all.
    Collection(&'static Kind, Option<String>),
    /// One object or its status.
    Object(Place),
}

/// The decoded segments of a path.
pub(super) fn segments(path: &str) -> Vec<Cow<'_, str>> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy())
        .collect()
}

/// Reads the segments after `/api/v1`.
pub(super) fn target(segments: &[&str]) -> Result<Target, Failure> {
    let kind_of = |plural: &str| Kind::of(plural).ok_or(Failure::NoRoute);
    match segments {
        [plural] => Ok(Target::Collection(kind_of(plural)?, None)),
        ["namespaces", namespace, plural] if *plural != "status" => {
            Ok(Target::Collection(kind_of(plural)?, Some((*namespace).into())))
        }
        ["namespaces", namespace, plural, name] => object(kind_of(plural)?, namespace, name, false),
        ["namespaces", namespace, plural, name, "status"] => object(kind_of(plural)?, namespace, name, true),
        [plural, name] => object(kind_of(plural)?, "", name, false),
        [plural, name, "status"] => object(kind_of(plural)?, "", name, true),
        _ => Err(Failure::NoRoute),
    }
}

fn object(kind: &'static Kind, namespace: &str, name: &str, status: bool) -> Result<Target, Failure> {
    if kind.namespaced == namespace.is_empty() || (status && !kind.has_status) {
        return Err(Failure::NoRoute);
    }
    Ok(Target::Object(Place { kind, namespace: namespace.into(), name: name.into(), status }))
}
