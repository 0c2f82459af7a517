//! Calls of the server as an agent makes them, and calls of bytes that nobody generated.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use kiam_common::args::{KeepaliveArgs, TlsArgs};
use kiam_common::channel::connect_lazily;
use kiam_common::tls::{Identity, install_crypto_provider};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A channel to the server with this client identity.
pub(crate) async fn channel(server: SocketAddr, identity: &TlsArgs) -> Channel {
    install_crypto_provider();
    let identity = Identity::load(identity).await.expect("sound files");
    let keepalive = KeepaliveArgs {
        grpc_keepalive_time_duration: Duration::from_secs(10),
        grpc_keepalive_timeout_duration: Duration::from_secs(2),
        grpc_keepalive_permit_without_stream: false,
    };
    connect_lazily(server, "127.0.0.1", &identity, &keepalive, Duration::from_secs(5))
}

/// Sends `message` to `/kiam.KiamService/<method>` as it is, and returns the answer's bytes as they are.
pub(crate) async fn call_raw(channel: &Channel, method: &str, message: &[u8]) -> Result<Bytes, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::try_from(format!("/kiam.KiamService/{method}")).expect("a sound path");
    let answer = client.unary(Request::new(Bytes::copy_from_slice(message)), path, AsIs).await?;
    Ok(answer.into_inner())
}

/// A message of text fields, by their numbers; every length must be below 128.
pub(crate) fn message(fields: &[(u8, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, text) in fields {
        bytes.extend([number << 3 | 2, u8::try_from(text.len()).expect("a short text")]);
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The text fields of a message by their numbers, in the order of the wire.
///
/// # Panics
/// If there is any other kind of field.
pub(crate) fn fields(mut message: &[u8]) -> Vec<(u8, String)> {
    let mut fields = Vec::new();
    while message.has_remaining() {
        let key = message.get_u8();
        assert_eq!(key & 7, 2, "field {} is no text", key >> 3);
        let mut length = 0;
        for shift in (0..).step_by(7) {
            let byte = message.get_u8();
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        fields.push((key >> 3, String::from_utf8(message[..length].to_vec()).expect("text")));
        message.advance(length);
    }
    fields
}

/// Messages that are bytes already.
#[derive(Default)]
struct AsIs;

impl Codec for AsIs {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for AsIs {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
