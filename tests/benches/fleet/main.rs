//! What a large cluster costs the server, and how soon its agents hear of a change: `cargo bench -p kiam-tests --bench
//! fleet`. `-- --nodes 100 --pods 3000 --seconds 5` tries it small.
//!
//! One real server process over an emulated Kubernetes API and an emulated STS; the agents are streams alone, in a
//! process of their own, many on each connection, so that what is measured for a stream leaves out its connection. The
//! emulators, the agents and the server share the machine's cores.

mod agents;
mod changes;
mod clock;
mod cluster;
mod measure;
mod report;
mod size;

use clap::Parser;
use kiam_common::args::TlsArgs;

use size::{Part, Size};

#[tokio::main]
async fn main() {
    kiam_common::tls::install_crypto_provider();
    let size = Size::parse();
    match size.part.clone() {
        Some(Part::Agents { server, cert, key, ca }) => agents::run(&size, server, &TlsArgs { cert, key, ca }).await,
        None => measure::measure(&size).await.print(),
    }
}
