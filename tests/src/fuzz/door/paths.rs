//! Requests, and mostly their paths: nothing reaches the metadata service that may not.

use std::ops::Range;
use std::path::Path;

use super::caller::Answer;
use super::{Agent, Permitted};
use crate::fuzz::{Broken, Target, Way, way};

/// What follows the path of an ordinary request.
const REST: &[u8] = b" HTTP/1.1\r\nHost: h\r\n\r\n";

/// An input is a request as it is on the wire.
pub struct Paths(Agent);

/// The sets, by the README's words and not by the agent's code.
fn is_in_sets(item: &str) -> bool {
    let is_or_is_below =
        |known: &str| item.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    [
        "meta-data/instance-id",
        "meta-data/instance-type",
        "meta-data/instance-life-cycle",
        "meta-data/ami-id",
        "meta-data/ami-launch-index",
        "meta-data/reservation-id",
        "meta-data/placement",
        "meta-data/spot",
        "meta-data/events/recommendations",
        "dynamic/instance-identity/document",
    ]
    .into_iter()
    .any(is_or_is_below)
}

impl Paths {
    /// At an agent that passes on all that `--allow-route-regexp` can open.
    pub fn with_everything_allowed(binary: &Path) -> Self {
        let everything: Permitted = |_| true;
        Self(Agent::start(binary, &[("--allow-route-regexp", "(?s).*")], everything))
    }

    /// At an agent that passes on some sets of paths.
    pub fn with_sets_allowed(binary: &Path) -> Self {
        Self(Agent::start(binary, &[("--allow-routes", "instance,placement,spot,instance-identity")], is_in_sets))
    }

    /// Takes as many as the connection lasts for.
    fn take_some(&mut self, inputs: &[Vec<u8>]) -> Result<Vec<Answer>, String> {
        let Agent { caller, runtime, .. } = &mut self.0;
        let ordinary: Vec<&[u8]> = inputs.iter().take_while(|input| is_ordinary(input)).map(Vec::as_slice).collect();
        match (ordinary.as_slice(), inputs) {
            ([], [odd, ..]) => runtime.block_on(caller.send(odd)).map(|answer| vec![answer]),
            (ordinary, _) => runtime.block_on(caller.ask(ordinary)),
        }
    }

    /// Which of the inputs made something reach the metadata service that should not have.
    fn culprit(&mut self, inputs: &[Vec<u8>]) -> usize {
        let mut does_it = |input: &Vec<u8>| {
            let _answer = self.take_some(std::slice::from_ref(input));
            !self.0.upstream.take_wrong().is_empty()
        };
        inputs.iter().position(&mut does_it).unwrap_or(0)
    }
}

/// Whether the agent can tell where the request ends, whatever it makes of it.
fn is_ordinary(input: &[u8]) -> bool {
    let Some(line) = input.strip_suffix(REST) else {
        return false;
    };
    let mut parts = line.splitn(2, |byte| *byte == b' ');
    let method = parts.next().unwrap_or_default();
    let is_known = [&b"GET"[..], b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS"].contains(&method);
    is_known && parts.next().is_some_and(|target| !target.is_empty() && target.iter().all(u8::is_ascii_graphic))
}

/// Answers differ by status and code, which is what a body begins with.
fn way_of(answer: &Answer) -> Way {
    let code = answer.body.split(|byte| *byte == b',').next().unwrap_or_default();
    way(&[&answer.status.unwrap_or_default().to_le_bytes(), &code[..code.len().min(40)]].concat())
}

impl Target for Paths {
    fn name(&self) -> &'static str {
        "paths"
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"/",
            b"//",
            b".",
            b"..",
            b"/./",
            b"/../",
            b"%2e",
            b"%2E%2e",
            b"%2f",
            b"%5c",
            b"\\",
            b";",
            b"%3b",
            b"?",
            b"#",
            b"%",
            b"%25",
            b"%00",
            b"%0a",
            b"%20",
            b"@",
            b":80",
            b"*",
            b"http://h",
            b"latest",
            b"1.0",
            b"meta-data",
            b"user-data",
            b"USER-DATA",
            b"iam",
            b"IAM",
            b"%69am",
            b"iam/info",
            b"security-credentials",
            b"identity-credentials",
            b"ec2",
            b"dynamic",
            b"instance-identity",
            b"document",
            b"placement",
            b"spot",
            b"\xc0\xaf",
            b"\xef\xbc\x8f",
            b"\xc4\xb1am",
            b"api/token",
            b"\r\n",
            b"Host: x\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"\r\n\r\nGET /latest/user-data HTTP/1.1\r\nHost: h\r\n\r\n",
        ]
    }

    fn interesting(&self, input: &[u8]) -> Range<usize> {
        let start = input.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
        let end = input.windows(REST.len()).position(|window| window == REST).unwrap_or(input.len());
        start.min(end)..end
    }

    fn take(&mut self, inputs: &[Vec<u8>]) -> Result<Vec<Way>, Broken> {
        let mut ways = Vec::new();
        while ways.len() < inputs.len() {
            let answers = self.take_some(&inputs[ways.len()..]).map_err(|why| Broken { input: ways.len(), why })?;
            ways.extend(answers.iter().map(way_of));
        }
        match self.0.upstream.take_wrong().first() {
            None => Ok(ways),
            Some(why) => Err(Broken { input: self.culprit(inputs), why: why.clone() }),
        }
    }
}
