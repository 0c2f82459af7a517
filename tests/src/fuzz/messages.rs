//! Messages of both packages, in both directions: whatever bytes arrive, decoding ends well or with an error, and what
//! was decoded is the same after another journey. What a server pushes goes into a ledger, too, where one message alone
//! never makes an answer with credentials.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use kiam_agent::testing::{Answer, Node, Stream};
use kiam_proto::{kiam, node};
use prost::Message;

use super::{Broken, Target, Way, way};

/// An input is a byte that chooses the message, and the message.
#[derive(Debug, Default)]
pub struct Messages;

type Journey = fn(&[u8]) -> Result<Option<Vec<u8>>, String>;

/// Every message that a peer sends.
const JOURNEYS: [Journey; 10] = [
    journey::<node::NodeMessage>,
    journey::<node::ServerMessage>,
    journey::<kiam::GetPodRoleRequest>,
    journey::<kiam::GetPodCredentialsRequest>,
    journey::<kiam::Role>,
    journey::<kiam::Credentials>,
    journey::<node::ListNodesResponse>,
    journey::<node::ExplainRequest>,
    journey::<node::Explanation>,
    into_ledger,
];

/// The pod that asks once a message has arrived.
const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// What the bytes are to a ledger: first as the whole snapshot but its end, then as all that the stream says.
fn into_ledger(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let Ok(message) = node::ServerMessage::decode(bytes) else {
        return Ok(None);
    };
    let (ledger, mut stream) = (Node::new(Duration::from_secs(10)), Stream::default());
    let end = node::server_message::Message::SnapshotEnd(node::SnapshotEnd {});
    let end = node::ServerMessage { sequence: 2, message: Some(end) };
    let is_end = matches!(&message.message, Some(node::server_message::Message::SnapshotEnd(_)));
    let encoded = message.encode_to_vec();
    for (number, message) in [node::ServerMessage { sequence: 1, ..message }, end].into_iter().enumerate() {
        stream.take(&ledger, [message]).map_err(|missing| missing.to_string())?;
        if number == 0 && !is_end && ledger.role_name(POD) != Answer::AskServer {
            return Err("a part of a snapshot is in effect".into());
        }
    }
    match ledger.credentials(POD, "reader") {
        Answer::Held(_) => Err("one message makes an answer with credentials".into()),
        _ => Ok(Some(encoded)),
    }
}

/// What the bytes are once they are encoded anew; none if they are no such message.
fn journey<M: Message + Default + PartialEq>(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let Ok(message) = M::decode(bytes) else {
        return Ok(None);
    };
    let encoded = message.encode_to_vec();
    if encoded.len() != message.encoded_len() {
        return Err("a message has another length than it says".into());
    }
    match M::decode(encoded.as_slice()) {
        Ok(again) if again == message => Ok(Some(encoded)),
        Ok(_) | Err(_) => Err("a message is another after a second journey".into()),
    }
}

impl Target for Messages {
    fn name(&self) -> &'static str {
        "messages"
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"\x0a\x00",
            b"\x0a\x03abc",
            b"\x12\x01",
            b"\x1a\x04",
            b"\x22\x00",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\xff\xff\xff\xff\x0f",
            b"\x0b",
            b"\x0c",
            b"\xf8\xff\xff\xff\x0f\x00",
            b"10.0.0.1",
        ]
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let hello = node::Hello { node: "node-a".into(), features: vec!["x".into()], ..node::Hello::default() };
        let hello = node::NodeMessage { message: Some(node::node_message::Message::Hello(hello)) };
        let request = kiam::GetPodCredentialsRequest { ip: "10.0.0.1".into(), role: "reader".into() };
        let role =
            node::BoundRole { name: "reader".into(), arn: "arn:aws:iam::123456789012:role/reader".into(), session: 1 };
        let pod = node::Pod { uid: "u".into(), namespace: "n".into(), name: "p".into() };
        let bind = node::Bind { ip: POD.to_string(), pod: Some(pod), decision: Some(node::bind::Decision::Role(role)) };
        let bind = node::ServerMessage { sequence: 1, message: Some(node::server_message::Message::Bind(bind)) };
        let seed = |number: u8, message: Vec<u8>| [vec![number], message].concat();
        let empty = (0..8).map(|number| vec![number]);
        let whole = [(0, hello.encode_to_vec()), (3, request.encode_to_vec()), (7, bind.encode_to_vec())];
        empty.chain(whole.map(|(number, message)| seed(number, message))).collect()
    }

    fn take(&mut self, inputs: &[Vec<u8>]) -> Result<Vec<Way>, Broken> {
        let take = |(input, bytes): (usize, &Vec<u8>)| {
            let Some((number, message)) = bytes.split_first() else {
                return Ok(0);
            };
            let number = usize::from(*number) % JOURNEYS.len();
            match JOURNEYS[number](message) {
                Ok(None) => Ok(number as Way),
                // Which fields there are and how long they are is what makes a message another.
                Ok(Some(encoded)) => Ok(way(&[number, encoded.len(), encoded.first().copied().unwrap_or(0).into()]
                    .map(usize::to_le_bytes)
                    .concat())),
                Err(why) => Err(Broken { input, why }),
            }
        };
        inputs.iter().enumerate().map(take).collect()
    }
}
