//! `--once`: the sandbox checks itself. Each check is a sentence about the product; it holds, or says why not.

mod changes;
mod doors;
mod outage;
mod pods;
mod watchers;

use std::time::Duration;

use tokio::time::Instant;

use super::world::World;
use crate::stack::Program;

/// What came of a check.
type Outcome = Result<(), String>;

/// How long what changes may take to show.
const SOON: Duration = Duration::from_secs(8);

/// Takes the tour and prints each check; whether all of them hold.
pub(super) async fn take(world: &mut World) -> bool {
    println!("kiam-sandbox: a server, two agents, seven pods, and emulators of AWS and Kubernetes, all on loopback\n");
    let began = Instant::now();
    let mut failed = Vec::new();
    let mut check = |what: &'static str, outcome: Outcome| match outcome {
        Ok(()) => println!("✓ {what}"),
        Err(why) => {
            println!("✗ {what}\n    {why}");
            failed.push(what);
        }
    };
    check("every pod gets the role it asks for if it may, and the others the reason", pods::all(world).await);
    check("no pod gets another role by asking for it", pods::others(world).await);
    check("two pods on two nodes share one session, assumed once", pods::shared(world).await);
    check("session name and external id reach STS", pods::details(world));
    check("a refused pod has an event that says why", watchers::events(world).await);
    check("only the allowed metadata is passed on, and never the node's role", doors::metadata(world).await);
    check("a changed annotation changes the role", changes::annotation(world).await);
    check("a pod added to pods.yaml is served", changes::added(world).await);
    check("a deleted pod is refused", changes::deleted(world).await);
    check("the server is killed and comes back: whoever asked meanwhile is answered", outage::server(world).await);
    check("after that, every pod is served as before", pods::all(world).await);
    check("/metrics of all three programs have the series of the contract", watchers::metrics(world).await);
    check("no secret is in any log, metric or event", watchers::secrets(world).await);
    println!();
    match failed.as_slice() {
        [] => println!("all of it holds, in {:.1} s", began.elapsed().as_secs_f64()),
        failed => println!("{} failed: {}\nlogs:\n{}", failed.len(), failed.join("; "), logs(world)),
    }
    failed.is_empty()
}

/// Tries again and again for as long as what changed may take to show.
async fn soon(mut attempt: impl AsyncFnMut() -> Outcome) -> Outcome {
    let deadline = Instant::now() + SOON;
    loop {
        match attempt().await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
            outcome => return outcome,
        }
    }
}

/// The end of every program's log: the files go with the sandbox.
fn logs(world: &World) -> String {
    let end = |program: &Program| format!("{}:\n{}", program.name(), program.last_lines());
    world.stack.programs().map(end).collect::<Vec<_>>().join("\n")
}
