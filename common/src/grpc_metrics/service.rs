//! The service that the layer makes: starts a call for each request and follows it to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::body::Body;
use tower::{BoxError, Service};

use super::body::{RequestBody, ResponseBody};
use super::call::Call;
use super::export::Methods;
use super::handling::MaybeTimed;

/// Counts the calls of the service inside.
#[derive(Clone, Debug)]
pub struct CountedService<S> {
    inner: S,
    methods: Arc<Methods>,
}

impl<S> CountedService<S> {
    pub(super) fn new(inner: S, methods: Arc<Methods>) -> Self {
        Self { inner, methods }
    }
}

impl<S, B> Service<Request<Body>> for CountedService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes, Error = Status>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Status;
    type Future = CountedCall<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(context).map_err(status)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = self.methods.of(request.uri().path()).clone();
        let call = Call::start(method.clone());
        let request = request.map(|body| Body::new(RequestBody::new(body, method.clone())));
        CountedCall { inner: method.maybe_timed(self.inner.call(request)), call }
    }
}

pin_project! {
    /// A call on its way to its response.
    pub struct CountedCall<F> {
        #[pin]
        inner: MaybeTimed<F>,
        call: Call,
    }
}

impl<F, B, E> Future for CountedCall<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: http_body::Body<Data = Bytes, Error = Status>,
{
    type Output = Result<Response<ResponseBody<B>>, Status>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match ready!(this.inner.poll(context)).map_err(status) {
            Ok(response) => {
                // A response without a message, as refusals are, has its status here and nothing after.
                this.call.end_with(response.headers());
                let call = this.call.hand_over();
                Ok(response.map(|body| ResponseBody::new(body, call)))
            }
            Err(status) => {
                this.call.end(status.code());
                Err(status)
            }
        })
    }
}

/// What tonic itself makes of an error, made here so that it can be counted.
fn status(error: impl Into<BoxError>) -> Status {
    Status::from_error(error.into())
}
