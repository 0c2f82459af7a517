//! A collector of spans: OTLP over gRPC, plain or with TLS, which keeps what it is sent.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiam_common::args::TlsArgs;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::Router;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// A span as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The program that made it: `service.name`.
    pub service: String,
    /// Its name.
    pub name: String,
    /// In hexadecimal, as logs have it.
    pub trace_id: String,
    /// In hexadecimal.
    pub span_id: String,
    /// In hexadecimal; empty if it is part of no other.
    pub parent_id: String,
    /// All else, as text.
    pub attributes: BTreeMap<String, String>,
}

/// A running collector; dropping it ends it.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct Received {
    exports: Vec<ExportTraceServiceRequest>,
    authorizations: Vec<String>,
}

impl Collector {
    /// Starts one on any free port.
    pub async fn start() -> io::Result<Self> {
        Self::serve(Server::builder()).await
    }

    /// The same with this certificate.
    pub async fn start_with_tls(files: &TlsArgs) -> io::Result<Self> {
        let identity = Identity::from_pem(fs::read(&files.cert)?, fs::read(&files.key)?);
        let tls = ServerTlsConfig::new().identity(identity);
        Self::serve(Server::builder().tls_config(tls).map_err(io::Error::other)?).await
    }

    async fn serve(mut server: Server) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, received) = (listener.local_addr()?, Arc::default());
        let router: Router = server.add_service(TraceServiceServer::new(Keeping(Arc::clone(&received))));
        let serving = async {
            // It ends with its handle, and what is not received then is missed by the test.
            let _ended = router.serve_with_incoming(TcpListenerStream::new(listener)).await;
        };
        Ok(Self { address, received, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) })
    }

    /// What goes into `OTEL_EXPORTER_OTLP_ENDPOINT`, after `http://` or `https://`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that has arrived.
    pub fn spans(&self) -> Vec<Span> {
        self.received().exports.iter().flat_map(|export| export.resource_spans.iter().flat_map(spans)).collect()
    }

    /// What the programs that sent anything say of themselves, by `service.name`.
    pub fn resources(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let received = self.received();
        let resources = received.exports.iter().flat_map(|export| export.resource_spans.iter().map(resource));
        resources.map(|attributes| (attributes.get("service.name").cloned().unwrap_or_default(), attributes)).collect()
    }

    /// All that has arrived, to be searched.
    pub fn text(&self) -> String {
        format!("{:?}", self.received().exports)
    }

    /// What was shown as `authorization`.
    pub fn authorizations(&self) -> Vec<String> {
        self.received().authorizations.clone()
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Keeping(Arc<Mutex<Received>>);

#[tonic::async_trait]
impl TraceService for Keeping {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let shown = request.metadata().get("authorization").and_then(|shown| shown.to_str().ok()).map(Into::into);
        let mut received = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        received.authorizations.extend(shown);
        received.exports.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn spans(from: &otlp::ResourceSpans) -> impl Iterator<Item = Span> {
    let service = resource(from).remove("service.name").unwrap_or_default();
    from.scope_spans.iter().flat_map(|scope| &scope.spans).map(move |span| Span {
        service: service.clone(),
        name: span.name.clone(),
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        attributes: attributes(&span.attributes),
    })
}

fn resource(from: &otlp::ResourceSpans) -> BTreeMap<String, String> {
    from.resource.as_ref().map(|resource| attributes(&resource.attributes)).unwrap_or_default()
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn text(attribute: &KeyValue) -> String {
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
