//! The rules in chains of their own of iptables and ip6tables, by the programs found on the node or in the image. Run
//! by the keeper and by `kiam-agent intercept`.
//!
//! What must always hold: each table is changed at once, the one that drops before the one that catches, so that what
//! is not caught yet meets a closed door.

mod program;
mod script;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use self::program::Family;
use self::script::{CATCH, CLOSE, Chain, Present};
use super::backend::{Backend, Error, Found};
use super::nftables::{Change, Changes};
use super::rule::{Plan, Rule};

/// Kernels that were told to do without IPv6 lack this; then there are no IPv6 packets, and no tables for them.
const IPV6_IS_THERE: &str = "/proc/net/if_inet6";
/// How often the rules are looked at where the kernel does not tell of changes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looking takes at most one part in so many of the time: it is slow where there are very many rules.
const SHARE: u32 = 10;

/// The chains with the rules of a plan.
#[derive(Debug)]
pub(crate) struct Iptables {
    families: Vec<Family>,
    catching: Vec<Rule>,
    closing: Vec<Rule>,
    /// None where the kernel does not tell: iptables' older kind tells nobody.
    changes: Option<Changes>,
    last_look_took: Duration,
}

impl Iptables {
    /// Nothing is done yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut families = vec![Family::V4];
        if Path::new(IPV6_IS_THERE).exists() {
            families.push(Family::V6);
        }
        Self {
            families,
            catching: plan.catching(),
            closing: plan.closing(),
            changes: None,
            last_look_took: Duration::ZERO,
        }
    }

    /// The chains in the order they are written, with their rules for an IP version.
    fn chains(&self, family: Family) -> [(Chain, Vec<&Rule>); 2] {
        let of = |rules| -> Vec<&Rule> {
            let rules: &Vec<Rule> = rules;
            rules.iter().filter(|rule| script::concerns(rule, family == Family::V6)).collect()
        };
        [(CLOSE, of(&self.closing)), (CATCH, of(&self.catching))]
    }
}

#[async_trait]
impl Backend for Iptables {
    async fn install(&mut self) -> Result<(), Error> {
        for family in &self.families {
            for (chain, rules) in self.chains(*family) {
                let present = Present::read(chain, &family.save(chain.table).await?);
                family.restore(&script::install(chain, &rules, &present)).await?;
            }
        }
        Ok(())
    }

    async fn remove(&mut self) -> Result<(), Error> {
        for family in &self.families {
            // What catches goes first: the door stays closed to the end.
            for chain in [CATCH, CLOSE] {
                let present = Present::read(chain, &family.save(chain.table).await?);
                if !present.is_nothing() {
                    family.restore(&script::remove(chain, &present)).await?;
                }
            }
        }
        Ok(())
    }

    async fn check(&mut self) -> Result<Found, Error> {
        let begun = Instant::now();
        let (mut nothing, mut difference, mut closed, mut caught) = (true, None, 0, 0);
        for family in &self.families {
            for (chain, rules) in self.chains(*family) {
                let present = Present::read(chain, &family.save(chain.table).await?);
                nothing &= present.is_nothing();
                match present.compare(chain, &rules) {
                    Ok(packets) if chain == CATCH => caught += packets,
                    Ok(packets) => closed += packets,
                    Err(found) => difference = difference.or(Some(format!("{}: {found}", chain.table))),
                }
            }
        }
        self.last_look_took = begun.elapsed();
        Ok(match difference {
            None => Found::Whole { caught, closed },
            Some(_) if nothing => Found::Nothing,
            Some(difference) => Found::Different(difference),
        })
    }

    async fn watch(&mut self) -> Result<(), Error> {
        self.changes = if Family::V4.writes_nftables().await? { Some(Changes::open()?) } else { None };
        Ok(())
    }

    async fn changed(&mut self) -> Result<(), Error> {
        if let Some(changes) = &mut self.changes {
            return changes.next(concerns).await;
        }
        sleep(LOOK_EVERY.max(self.last_look_took * SHARE)).await;
        Ok(())
    }
}

/// Whether a change is about our chains or about those that ask them.
fn concerns(change: &Change<'_>) -> bool {
    let about = |chain: Chain| {
        change.table() == Some(chain.table)
            && change.chain().is_none_or(|name| name == chain.name || chain.asked_by.contains(&name))
    };
    about(CATCH) || about(CLOSE)
}
