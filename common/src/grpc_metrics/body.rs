//! Bodies that count the messages in them; the body of a response also knows how its call ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status};

use super::call::Call;
use super::export::Method;
use super::frames::Frames;

pin_project! {
    /// The body of a request, whose messages are counted.
    #[derive(Debug)]
    pub(super) struct RequestBody<B> {
        #[pin]
        inner: B,
        frames: Frames,
        method: Arc<Method>,
    }
}

impl<B> RequestBody<B> {
    pub(super) fn new(inner: B, method: Arc<Method>) -> Self {
        Self { inner, frames: Frames::default(), method }
    }
}

impl<B: Body<Data = Bytes>> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            this.method.requests.inc_by(messages(this.frames, frame));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pin_project! {
    /// The body of a response, whose messages are counted and whose end is the call's.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: B,
        frames: Frames,
        call: Call,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(inner: B, call: Call) -> Self {
        Self { inner, frames: Frames::default(), call }
    }
}

impl<B: Body<Data = Bytes, Error = Status>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                this.call.responses().inc_by(messages(this.frames, frame));
                frame.trailers_ref().into_iter().for_each(|trailers| this.call.end_with(trailers));
            }
            Some(Err(status)) => this.call.end(status.code()),
            // A body that ends without trailers leaves the caller without a status.
            None => this.call.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// How many messages end in `frame`.
fn messages(frames: &mut Frames, frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| frames.read(data))
}
