//! The exported family and its labels: one set of counters for each method of the service descriptors, looked up by
//! path, and one for everything else.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::Either;
use prometheus::{IntCounter, IntCounterVec, Opts};
use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tonic::Code;

use super::handling::{MaybeTimed, Timed};
use crate::registry::Registry;
use crate::tls::Side;

/// The label of whatever no descriptor knows.
const UNKNOWN: &str = "unknown";

/// The `grpc_type` of a method without streams.
const UNARY: &str = "unary";

/// The counters of one method. Resolved once: counting a call looks nothing up.
#[derive(Debug)]
pub(super) struct Method {
    /// Calls started.
    pub(super) started: IntCounter,
    /// Messages of requests: received by a server, sent by a client.
    pub(super) requests: IntCounter,
    /// Messages of responses: the other way round.
    pub(super) responses: IntCounter,
    /// Calls handled, by the number of their code.
    handled: Vec<IntCounter>,
    /// How it is timed, if it is.
    timed: Option<Timed>,
}

impl Method {
    /// Counts a call that ended with `code`.
    pub(super) fn handled(&self, code: Code) {
        if let Some(counter) = self.handled.get(code as usize) {
            counter.inc();
        }
    }

    /// The call itself, timed if the method is.
    pub(super) fn maybe_timed<F>(&self, call: F) -> MaybeTimed<F> {
        match &self.timed {
            Some(timed) => Either::Left(timed.time(call)),
            None => Either::Right(call),
        }
    }
}

/// Every method that is counted by its name, and the rest.
#[derive(Debug)]
pub(super) struct Methods {
    by_path: HashMap<String, Arc<Method>>,
    unknown: Arc<Method>,
}

impl Methods {
    /// Registers the family of `side` with every method of `descriptors` at zero.
    pub(super) fn register(registry: &Registry, side: Side, descriptors: &[&[u8]]) -> Result<Self, prometheus::Error> {
        let family = Family::register(registry, side)?;
        let mut by_path = HashMap::new();
        for (service, method) in methods(descriptors)? {
            let path = format!("/{service}/{}", method.name());
            let mut counted = family.method(kind(&method), &service, method.name())?;
            counted.timed = (side == Side::Server && kind(&method) == UNARY).then(|| Timed::new(&path));
            by_path.insert(path, Arc::new(counted));
        }
        Ok(Self { by_path, unknown: Arc::new(family.method(UNARY, UNKNOWN, UNKNOWN)?) })
    }

    /// The counters of the method at `path`.
    pub(super) fn of(&self, path: &str) -> &Arc<Method> {
        self.by_path.get(path).unwrap_or(&self.unknown)
    }
}

/// The four counters of one side.
struct Family {
    side: Side,
    started: IntCounterVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    handled: IntCounterVec,
}

impl Family {
    fn register(registry: &Registry, side: Side) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let help = format!("{help} the {}.", side.as_str());
            let counter = IntCounterVec::new(Opts::new(format!("grpc_{}_{name}_total", side.as_str()), help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let method = ["grpc_type", "grpc_service", "grpc_method"];
        Ok(Self {
            side,
            started: counter("started", "Calls started on", &method)?,
            received: counter("msg_received", "Messages of calls received by", &method)?,
            sent: counter("msg_sent", "Messages of calls sent by", &method)?,
            handled: counter(
                "handled",
                "Calls completed, whatever came of them, on",
                &["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
            )?,
        })
    }

    fn method(&self, kind: &str, service: &str, method: &str) -> Result<Method, prometheus::Error> {
        let labels = [kind, service, method];
        let received = self.received.get_metric_with_label_values(&labels)?;
        let sent = self.sent.get_metric_with_label_values(&labels)?;
        let (requests, responses) = match self.side {
            Side::Server => (received, sent),
            Side::Client => (sent, received),
        };
        let handled = |code: i32| {
            let code = go_name(Code::from_i32(code));
            self.handled.get_metric_with_label_values(&[kind, service, method, code])
        };
        Ok(Method {
            started: self.started.get_metric_with_label_values(&labels)?,
            requests,
            responses,
            timed: None,
            handled: (0..=Code::Unauthenticated as i32).map(handled).collect::<Result<_, _>>()?,
        })
    }
}

/// Every method of the descriptors, with the full name of its service.
fn methods(descriptors: &[&[u8]]) -> Result<Vec<(String, MethodDescriptorProto)>, prometheus::Error> {
    let mut methods = Vec::new();
    for descriptor in descriptors {
        let files = FileDescriptorSet::decode(*descriptor)
            .map_err(|error| prometheus::Error::Msg(format!("not a file descriptor set: {error}")))?;
        for mut file in files.file {
            let package = file.package.take().map(|package| package + ".").unwrap_or_default();
            for service in file.service {
                let name = format!("{package}{}", service.name());
                methods.extend(service.method.into_iter().map(|method| (name.clone(), method)));
            }
        }
    }
    Ok(methods)
}

/// The `grpc_type` of a method.
fn kind(method: &MethodDescriptorProto) -> &'static str {
    match (method.client_streaming(), method.server_streaming()) {
        (false, false) => UNARY,
        (true, false) => "client_stream",
        (false, true) => "server_stream",
        (true, true) => "bidi_stream",
    }
}

/// The `grpc_code` of a code, spelt as Go does.
fn go_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
