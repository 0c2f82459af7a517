//! Session tokens: of all bytes that there are, only those that the agent gave to this pod open anything.

use std::path::Path;

use super::Agent;
use crate::fuzz::{Broken, Target, Way};

const PATH: &str = "/latest/meta-data/iam/security-credentials/";

/// An input is what is presented as a token.
pub struct Tokens {
    agent: Agent,
    given: Vec<u8>,
}

impl Tokens {
    /// At an agent that requires them.
    pub fn required(binary: &Path) -> Self {
        let mut agent = Agent::start(binary, &[("--imds-tokens", "required")], |_| false);
        let asks: &[u8] =
            b"PUT /latest/api/token HTTP/1.1\r\nHost: h\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n";
        let Agent { caller, runtime, .. } = &mut agent;
        let given = runtime.block_on(caller.ask(&[asks])).expect("an answer").remove(0).body;
        let mut tokens = Self { agent, given };
        let opened = tokens.present(std::slice::from_ref(&tokens.given.clone())).expect("an answer");
        assert_eq!(opened, [200], "the token that was given opens");
        tokens
    }

    /// The status of each answer, as far as the connection lasts.
    fn present(&mut self, tokens: &[Vec<u8>]) -> Result<Vec<u16>, String> {
        let Agent { caller, runtime, .. } = &mut self.agent;
        let request = |token: &Vec<u8>| {
            [format!("GET {PATH} HTTP/1.1\r\nHost: h\r\nX-aws-ec2-metadata-token: ").as_bytes(), token, b"\r\n\r\n"]
                .concat()
        };
        let is_one_line = |token: &&Vec<u8>| token.iter().all(|byte| *byte != b'\r' && *byte != b'\n');
        let requests: Vec<_> = tokens.iter().take_while(is_one_line).map(request).collect();
        let answers = match tokens.first() {
            Some(odd) if requests.is_empty() => runtime.block_on(caller.send(&request(odd))).map(|answer| vec![answer]),
            Some(_) | None => runtime.block_on(caller.ask(&requests.iter().map(Vec::as_slice).collect::<Vec<_>>())),
        };
        Ok(answers?.iter().map(|answer| answer.status.unwrap_or(0)).collect())
    }
}

/// What a header that is followed by these bytes has as its value: all of the line but the white space around it.
fn value(bytes: &[u8]) -> &[u8] {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = line.iter().position(|byte| !is_space(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

impl Target for Tokens {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[b"A", b"=", b"==", b"_", b"-", b"+", b"/", b" ", b",", b"\t", b"\0", b"\r\n", b"\xff"]
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        vec![self.given.clone(), Vec::new()]
    }

    fn take(&mut self, inputs: &[Vec<u8>]) -> Result<Vec<Way>, Broken> {
        let mut ways: Vec<Way> = Vec::new();
        while ways.len() < inputs.len() {
            let first = ways.len();
            let statuses = self.present(&inputs[first..]).map_err(|why| Broken { input: first, why })?;
            for (input, status) in (first..).zip(statuses) {
                let is_given = value(&inputs[input]) == self.given;
                if status == 200 && !is_given || status != 200 && inputs[input] == self.given {
                    return Err(Broken {
                        input,
                        why: format!("a token was answered {status}; it is the one given: {is_given}"),
                    });
                }
                ways.push(status.into());
            }
        }
        Ok(ways)
    }
}
