//! HTTP: from a request to one of the things the API does, and back.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::failure::Failure;
use super::kind::Kind;
use super::list::{self, Page};
use super::objects::{self, Place};
use super::patch::Patch;
use super::route::{self, Target};
use super::selector::Selector;
use super::store::text;
use super::watch::{self, Wanted};
use super::{Seen, Service, discovery, protobuf, table};
use crate::loopback::{Answer, Body, Handler, answer};

/// The parameters after the `?`.
type Query = HashMap<String, String>;

impl Handler for Service {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        self.record(Seen { method: parts.method.clone(), path: parts.uri.path().into(), query: query.clone() });
        let query: Query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Some(
            respond(&self, &parts, &query, &body).unwrap_or_else(|failure| {
                answer(failure.status(), "application/json", failure.to_object().to_string())
            }),
        )
    }
}

fn respond(service: &Arc<Service>, parts: &Parts, query: &Query, body: &Bytes) -> Result<Response<Body>, Failure> {
    if query.contains_key("dryRun") {
        return Err(Failure::BadRequest("dryRun: this API has no dry run".into()));
    }
    let segments = route::segments(parts.uri.path());
    let segments: Vec<&str> = segments.iter().map(Cow::as_ref).collect();
    match (&parts.method, segments.as_slice()) {
        (&Method::GET, ["healthz" | "livez" | "readyz"]) => Ok(answer(StatusCode::OK, "text/plain", "ok")),
        (&Method::POST, ["apis", group, "v1", resource]) => {
            let review = service.reviews().answer(group, resource, read(parts, body)?).ok_or(Failure::NoRoute)?;
            Ok(object(StatusCode::CREATED, &review))
        }
        (&Method::GET, about) if discovery::find(about).is_some() => {
            Ok(object(StatusCode::OK, &discovery::find(about).unwrap_or_default()))
        }
        (_, ["api", "v1", rest @ ..]) => match route::target(rest)? {
            Target::Collection(kind, namespace) => collection(service, parts, query, body, kind, namespace),
            Target::Object(place) => single(service, parts, body, &place),
        },
        _ => Err(Failure::NoRoute),
    }
}

fn collection(
    service: &Arc<Service>,
    parts: &Parts,
    query: &Query,
    body: &Bytes,
    kind: &'static Kind,
    namespace: Option<String>,
) -> Result<Response<Body>, Failure> {
    let parameter = |name: &str| query.get(name).map_or("", String::as_str);
    if parts.method == Method::POST {
        if kind.namespaced && namespace.is_none() {
            return Err(Failure::Method);
        }
        let now = service.clock.now();
        let namespace = namespace.unwrap_or_default();
        let created = service.change(|store| objects::create(store, kind, &namespace, read(parts, body)?, now))?;
        return Ok(object(StatusCode::CREATED, &created));
    }
    if parts.method != Method::GET {
        return Err(Failure::Method);
    }
    let selector = Selector::parse(parameter("fieldSelector"), parameter("labelSelector"))?;
    if is_true(parameter("watch")) {
        return watched(service, query, kind, namespace, selector);
    }
    let page = Page {
        kind,
        namespace: namespace.as_deref(),
        selector: &selector,
        limit: number(parameter("limit"), "limit")?.unwrap_or(0),
        after: parameter("continue"),
    };
    let (objects, metadata) = list::page(&service.store(), &page)?;
    if wants_table(parts) {
        return Ok(object(StatusCode::OK, &table::of(kind, &objects, &metadata, service.clock.now())));
    }
    Ok(object(StatusCode::OK, &list::to_object(kind, &objects, &metadata)))
}

fn watched(
    service: &Arc<Service>,
    query: &Query,
    kind: &'static Kind,
    namespace: Option<String>,
    selector: Selector,
) -> Result<Response<Body>, Failure> {
    let parameter = |name: &str| query.get(name).map_or("", String::as_str);
    let from = number(parameter("resourceVersion"), "resourceVersion")?.filter(|revision| *revision != 0);
    let life = number(parameter("timeoutSeconds"), "timeoutSeconds")?.map(Duration::from_secs);
    let wanted = Wanted {
        kind,
        namespace,
        selector,
        from,
        bookmarks: is_true(parameter("allowWatchBookmarks")),
        initial_events: is_true(parameter("sendInitialEvents")),
        ends: life.map(|life| Instant::now() + life),
    };
    let stream = StreamBody::new(watch::start(Arc::clone(service), wanted));
    let mut response = Response::new(stream.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn single(service: &Service, parts: &Parts, body: &Bytes, place: &Place) -> Result<Response<Body>, Failure> {
    let now = service.clock.now();
    match parts.method {
        Method::GET => {
            let found = objects::get(&service.store(), place)?;
            if wants_table(parts) {
                return Ok(object(StatusCode::OK, &table::of(place.kind, &[found], &json!({}), now)));
            }
            Ok(object(StatusCode::OK, &found))
        }
        Method::PUT => {
            let updated = service.change(|store| objects::update(store, place, read(parts, body)?))?;
            Ok(object(StatusCode::OK, &updated))
        }
        Method::PATCH => {
            let patch = Patch::read(header(parts, &CONTENT_TYPE), body)?;
            let patched = service.change(|store| objects::patch(store, place, &patch, now))?;
            Ok(object(StatusCode::OK, &patched))
        }
        Method::DELETE if !place.status => {
            let options = if body.is_empty() { Value::Null } else { read(parts, body)? };
            let deleted = service.change(|store| objects::delete(store, place, &options))?;
            let details = json!({"kind": place.kind.plural, "name": place.name, "uid": text(&deleted, "uid")});
            let status =
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
            Ok(object(StatusCode::OK, &status))
        }
        _ => Err(Failure::Method),
    }
}

fn read(parts: &Parts, body: &[u8]) -> Result<Value, Failure> {
    let content_type = header(parts, &CONTENT_TYPE);
    if content_type == protobuf::CONTENT_TYPE {
        return protobuf::read(body);
    }
    if !content_type.is_empty() && !content_type.starts_with("application/json") {
        return Err(Failure::MediaType(content_type.into()));
    }
    serde_json::from_slice(body).map_err(|error| Failure::BadRequest(format!("the body is not JSON: {error}")))
}

fn object(status: StatusCode, object: &Value) -> Response<Body> {
    answer(status, "application/json", object.to_string())
}

fn wants_table(parts: &Parts) -> bool {
    header(parts, &ACCEPT).contains("as=Table")
}

fn header<'a>(parts: &'a Parts, name: &HeaderName) -> &'a str {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_true(parameter: &str) -> bool {
    matches!(parameter, "true" | "1")
}

fn number<N: std::str::FromStr>(text: &str, name: &str) -> Result<Option<N>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse().map_err(|_| Failure::BadRequest(format!("{name}: {text:?} is not a number")))?;
    Ok(Some(parsed))
}
