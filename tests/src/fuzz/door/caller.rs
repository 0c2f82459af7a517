//! A pod that sends bytes and reads answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::real::http::connect;

/// How long an answer may take; the agent's own limit is five seconds.
const PATIENCE: Duration = Duration::from_secs(10);

const SILENCE: &str = "no answer, and no end, for ten seconds";

/// What was answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// None if the connection was closed instead.
    pub(super) status: Option<u16>,
    pub(super) body: Vec<u8>,
}

/// A pod, with a connection that is kept.
pub(super) struct Caller {
    pod: IpAddr,
    agent: SocketAddr,
    kept: Option<Kept>,
}

struct Kept {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Caller {
    pub(super) fn new(pod: IpAddr, agent: SocketAddr) -> Self {
        Self { pod, agent, kept: None }
    }

    /// Sends requests one after the other without waiting in between, and reads an answer to each, as far as the
    /// connection lasts: at least one.
    pub(super) async fn ask(&mut self, requests: &[&[u8]]) -> Result<Vec<Answer>, String> {
        if let Some(kept) = self.kept.take() {
            let answers = self.ask_on(kept, requests).await?;
            if !answers.is_empty() {
                return Ok(answers);
            }
            // It was closed after the last answer.
        }
        let new = Kept { stream: self.connect().await?, read: Vec::new() };
        let mut answers = self.ask_on(new, requests).await?;
        if answers.is_empty() {
            answers.push(Answer::default());
        }
        Ok(answers)
    }

    async fn ask_on(&mut self, mut kept: Kept, requests: &[&[u8]]) -> Result<Vec<Answer>, String> {
        let mut answers = Vec::new();
        if kept.stream.write_all(&requests.concat()).await.is_ok() {
            for request in requests {
                let answer = timeout(PATIENCE, kept.answer(request.starts_with(b"HEAD "))).await;
                let Some(answer) = answer.map_err(|_| SILENCE.to_owned())? else {
                    return Ok(answers);
                };
                answers.push(answer);
            }
            self.kept = Some(kept);
        }
        Ok(answers)
    }

    /// Sends bytes on a connection of their own and reads until its end.
    pub(super) async fn send(&self, bytes: &[u8]) -> Result<Answer, String> {
        let mut kept = Kept { stream: self.connect().await?, read: Vec::new() };
        // The agent may have closed before all of it is sent.
        let _sent = kept.stream.write_all(bytes).await;
        let _ended = kept.stream.shutdown().await;
        let answer = timeout(PATIENCE, kept.answer(bytes.starts_with(b"HEAD "))).await;
        Ok(answer.map_err(|_| SILENCE.to_owned())?.unwrap_or_default())
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let connected = connect(self.pod, self.agent).await.and_then(|stream| {
            // Its port is free again at once: millions of connections need more ports than there are.
            stream.set_zero_linger()?;
            Ok(stream)
        });
        connected.map_err(|error| format!("the agent takes no connection: {error}"))
    }
}

impl Kept {
    /// The next answer; none at the end.
    async fn answer(&mut self, to_head: bool) -> Option<Answer> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.read.drain(..end + 4).collect::<Vec<u8>>();
            }
            self.read_more().await?;
        };
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let length = if to_head { 0 } else { length.unwrap_or(0) };
        while self.read.len() < length {
            self.read_more().await?;
        }
        let body = self.read.drain(..length).collect();
        Some(Answer { status: head.split(' ').nth(1)?.parse().ok(), body })
    }

    async fn read_more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.read).await.ok()?;
        (read > 0).then_some(())
    }
}
