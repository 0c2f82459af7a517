//! Random histories of a cluster of two nodes and two servers, checked against an oracle that only reads what has
//! happened. Directory, vault, desk and ledger are the real ones, and what goes between them is encoded and decoded
//! protobuf; watches, connections, STS, the kernel's network and the time do what the history says.
//!
//! What must never happen says `oracle`, what must be so in the end `rest`, and how to run it `seeds`.
//!
//! # What is left out
//!
//! A pod keeps its link to the node for as long as it has its address, and on one node an address leads to one pod at a
//! time (in the API, and on several nodes, it may be several pods'). While things happen,
//! the calls that an agent makes for what its ledger does not say: they are answered by what the server has heard, and
//! no pin speaks against that.

mod agent;
mod calls;
mod cluster;
mod history;
mod oracle;
mod rest;
mod run;
mod seeds;
mod server;
mod shrink;
mod sts;
