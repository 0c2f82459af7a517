//! The exported family and its labels: one set of counters for each method of the service descriptors, looked up by
//! path, and one for everything else.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tonic::Code;

use crate::tls::Side;

/// The label of whatever no descriptor knows.
const UNKNOWN: &str = "unknown";

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
}

impl Method {
    /// Counts a call that ended with `code`.
    pub(super) fn handled(&self, code: Code) {
        if let Some(counter) = self.handled.get(code as usize) {
            counter.inc();
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
        for descriptor in descriptors {
            let files = FileDescriptorSet::decode(*descriptor)
                .map_err(|error| prometheus::Error::Msg(format!("not a file descriptor set: {error}")))?;
            for file in files.file {
                for service in &file.service {
                    let service_name = match file.package() {
                        "" => service.name().to_owned(),
                        package => format!("{package}.{}", service.name()),
                    };
                    for method in &service.method {
                        let counters = family.method(kind(method), &service_name, method.name())?;
                        by_path.insert(format!("/{service_name}/{}", method.name()), Arc::new(counters));
                    }
                }
            }
        }
        Ok(Self { by_path, unknown: Arc::new(family.method("unary", UNKNOWN, UNKNOWN)?) })
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
            handled: (0..=Code::Unauthenticated as i32).map(handled).collect::<Result<_, _>>()?,
        })
    }
}

/// The `grpc_type` of a method.
fn kind(method: &MethodDescriptorProto) -> &'static str {
    match (method.client_streaming(), method.server_streaming()) {
        (false, false) => "unary",
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
