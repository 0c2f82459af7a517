//! The server goes and comes back.

use super::Outcome;
use super::pods::compare;
use crate::sandbox::sdk;
use crate::sandbox::world::World;
use crate::stack::Relay;

/// Kills the server, lets a pod ask, and starts the server again where it was.
pub(super) async fn server(world: &mut World) -> Outcome {
    world.stack.server.kill().await.map_err(|error| error.to_string())?;
    let (node, address) = world.place_of("shop/export")?;
    let relay = Relay::start(address, node.agent.addresses().main).await.map_err(|error| error.to_string())?;
    let sts_url = world.stack.sts.url();
    let (asked, started) = tokio::join!(sdk::ask(relay.addr(), &sts_url), world.stack.start_server_again());
    started.map_err(|error| error.to_string())?;
    compare("shop/export", Ok("arn:aws:sts::210987654321:assumed-role/export/kiam-kiam"), &asked)
}
