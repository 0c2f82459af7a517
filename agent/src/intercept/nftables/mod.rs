//! The rules in a table of their own of the kernel's nftables, by netlink: no program is needed. Run by the keeper and
//! by `kiam-agent intercept`.
//!
//! What must always hold: the table is replaced in one transaction, so there is no moment without rules.

mod encode;
mod socket;

use std::future::pending;
use std::io;

use async_trait::async_trait;
pub(crate) use socket::{Change, Changes};

use super::backend::{Backend, Error, Found};
use super::check::{Seen, compare};
use super::rule::{Plan, Rule};
use crate::netlink::{self, Attributes, Read, Received};
use socket::attributes;

/// The table.
const TABLE: &str = "kiam";
/// nftables' part of netfilter.
const SUBSYSTEM: u16 = 10;
/// Both IP versions.
const INET: u8 = 1;

/// The length of the head of netfilter's messages: the IP version, its own version, and a resource.
const HEAD: usize = 4;

/// Kinds of messages: the subsystem in the high byte, except for those around a transaction.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const GET_TABLE: u16 = NEW_TABLE + 1;
const DELETE_TABLE: u16 = NEW_TABLE + 2;
const NEW_CHAIN: u16 = NEW_TABLE + 3;
const GET_CHAIN: u16 = NEW_TABLE + 4;
const NEW_RULE: u16 = NEW_TABLE + 6;
const GET_RULE: u16 = NEW_TABLE + 7;
const DELETE_RULE: u16 = NEW_TABLE + 8;

/// Flags of messages.
const REQUEST: u16 = 0x1;
const LIST: u16 = 0x300;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// Attributes. Tables, chains and rules begin with the table's name.
const NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_WORDS: u16 = 7;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const COUNTER_PACKETS: u16 = 2;

/// Where packets are that come in from outside.
const PREROUTING: u32 = 0;

/// One of our chains.
#[derive(Clone, Copy, Debug)]
struct Chain {
    name: &'static str,
    kind: &'static str,
    /// When it is asked among the chains of `PREROUTING`, where addresses are translated at -100.
    priority: i32,
}

/// Asked before everybody else who translates addresses.
const CATCH: Chain = Chain { name: "catch", kind: "nat", priority: -101 };
/// Asked when addresses are translated: what still goes to a metadata address was not caught.
const CLOSE: Chain = Chain { name: "close", kind: "filter", priority: -99 };

/// The table with the rules of a plan.
#[derive(Debug)]
pub(crate) struct Nftables {
    catching: Vec<Rule>,
    closing: Vec<Rule>,
    changes: Option<Changes>,
}

impl Nftables {
    /// Nothing is done yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { catching: plan.catching(), closing: plan.closing(), changes: None }
    }

    fn chains(&self) -> [(Chain, &[Rule]); 2] {
        [(CATCH, &self.catching), (CLOSE, &self.closing)]
    }

    /// The rules of a chain that are in the kernel.
    fn rules_in(chain: Chain) -> io::Result<Vec<Seen>> {
        let about = Attributes::default().text(NAME, TABLE).text(RULE_CHAIN, chain.name);
        let mut rules = Vec::new();
        socket::ask(&netlink::message(GET_RULE, REQUEST | LIST, 1, &head(INET, 0), &about), |message| {
            let rule = attributes(message);
            // Kernels before 5.6 list the rules of every table.
            if rule.text(NAME) == Some(TABLE) && rule.text(RULE_CHAIN) == Some(chain.name) {
                rules.push(seen(rule));
            }
        })?;
        Ok(rules)
    }

    /// What is wrong with a chain, without its rules.
    fn fault_of(chain: Chain) -> io::Result<Option<String>> {
        let about = Attributes::default().text(NAME, TABLE).text(CHAIN_NAME, chain.name);
        let mut right = false;
        let asked = socket::ask(&netlink::message(GET_CHAIN, REQUEST, 1, &head(INET, 0), &about), |message| {
            right = is_right(chain, message);
        });
        match asked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Some(format!("the chain {} is missing", chain.name)))
            }
            Err(error) => Err(error),
            Ok(()) if right => Ok(None),
            Ok(()) => Ok(Some(format!("the chain {} is not asked where it must be", chain.name))),
        }
    }

    fn read(&self) -> io::Result<Found> {
        let mut flags = None;
        let about = Attributes::default().text(NAME, TABLE);
        let asked = socket::ask(&netlink::message(GET_TABLE, REQUEST, 1, &head(INET, 0), &about), |message| {
            flags = attributes(message).number(TABLE_FLAGS);
        });
        match asked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            asked => asked?,
        }
        if flags != Some(0) {
            return Ok(Found::Different(format!("the table {TABLE} is switched off")));
        }
        let mut packets = [0; 2];
        for ((chain, wanted), packets) in self.chains().into_iter().zip(&mut packets) {
            if let Some(fault) = Self::fault_of(chain)? {
                return Ok(Found::Different(fault));
            }
            match compare(wanted, &Self::rules_in(chain)?) {
                Ok(counted) => *packets = counted,
                Err(difference) => return Ok(Found::Different(difference)),
            }
        }
        let [caught, closed] = packets;
        Ok(Found::Whole { caught, closed })
    }
}

#[async_trait]
impl Backend for Nftables {
    async fn install(&mut self) -> Result<(), Error> {
        let mut transaction = Transaction::begin();
        transaction.replace_table();
        for (chain, rules) in self.chains() {
            transaction.add_chain(chain);
            for rule in rules {
                transaction.add_rule(chain, rule);
            }
        }
        transaction.commit()
    }

    async fn remove(&mut self) -> Result<(), Error> {
        let mut transaction = Transaction::begin();
        transaction.remove_table();
        transaction.commit()
    }

    async fn check(&mut self) -> Result<Found, Error> {
        self.read().map_err(|source| Error::kernel("reading the rules", source))
    }

    async fn watch(&mut self) -> Result<(), Error> {
        self.changes = Some(Changes::open()?);
        Ok(())
    }

    async fn changed(&mut self) -> Result<(), Error> {
        match &mut self.changes {
            Some(changes) => changes.next(|change| change.table() == Some(TABLE)).await,
            None => pending().await,
        }
    }
}

/// Whether a chain is asked when it must be, and about packets of its kind.
fn is_right(chain: Chain, message: Received<'_>) -> bool {
    let found = attributes(message);
    let hook = found.nested(CHAIN_HOOK);
    found.text(CHAIN_TYPE) == Some(chain.kind)
        && hook.number(HOOK_NUMBER) == Some(PREROUTING)
        && hook.number(HOOK_PRIORITY) == Some(priority(chain))
}

fn head(family: u8, resource: u16) -> [u8; HEAD] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn priority(chain: Chain) -> u32 {
    u32::from_ne_bytes(chain.priority.to_ne_bytes())
}

/// A rule's comment and how many packets it was for.
fn seen(rule: Read<'_>) -> Seen {
    // User data is made of parts: a number, a length and a text with its end. Number 0 is the comment.
    let words = match rule.bytes(RULE_WORDS) {
        Some([0, length, text @ ..]) => text.get(..usize::from(*length).saturating_sub(1)).unwrap_or_default(),
        _ => &[],
    };
    let counter = rule
        .nested(RULE_EXPRESSIONS)
        .all()
        .map(|(_, expression)| Read::within(expression))
        .find(|expression| expression.text(EXPRESSION_NAME) == Some("counter"));
    let packets = counter.and_then(|counter| counter.nested(EXPRESSION_DATA).long_number(COUNTER_PACKETS));
    Seen { words: String::from_utf8_lossy(words).into_owned(), packets: packets.unwrap_or(0) }
}

/// Messages that the kernel does all of, or none.
struct Transaction {
    messages: Vec<u8>,
    /// What each message is about, in order: its place is its number.
    steps: Vec<String>,
}

impl Transaction {
    fn begin() -> Self {
        let mut transaction = Self { messages: Vec::new(), steps: Vec::new() };
        transaction.add(BEGIN, 0, "writing the rules".into(), &Attributes::default());
        transaction
    }

    fn add(&mut self, kind: u16, flags: u16, step: String, body: &Attributes) {
        let number = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        let (family, resource) = if matches!(kind, BEGIN | END) { (0, SUBSYSTEM) } else { (INET, 0) };
        self.messages.extend(netlink::message(kind, REQUEST | flags, number, &head(family, resource), body));
        self.steps.push(step);
    }

    /// Deletes the table, which is not wrong where there is none: it is added first, if need be.
    fn remove_table(&mut self) {
        let name = Attributes::default().text(NAME, TABLE);
        self.add(NEW_TABLE, CREATE, format!("adding the table {TABLE}"), &name.number(TABLE_FLAGS, 0));
        let name = Attributes::default().text(NAME, TABLE);
        self.add(DELETE_TABLE, 0, format!("deleting the table {TABLE}"), &name);
    }

    fn replace_table(&mut self) {
        self.remove_table();
        let table = Attributes::default().text(NAME, TABLE).number(TABLE_FLAGS, 0);
        self.add(NEW_TABLE, CREATE, format!("adding the table {TABLE}"), &table);
    }

    fn add_chain(&mut self, chain: Chain) {
        let hook = Attributes::default().number(HOOK_NUMBER, PREROUTING).number(HOOK_PRIORITY, priority(chain));
        let body = Attributes::default()
            .text(NAME, TABLE)
            .text(CHAIN_NAME, chain.name)
            .nested(CHAIN_HOOK, &hook)
            .text(CHAIN_TYPE, chain.kind);
        self.add(NEW_CHAIN, CREATE, format!("adding the chain {}", chain.name), &body);
    }

    fn add_rule(&mut self, chain: Chain, rule: &Rule) {
        let words = rule.to_string();
        let length = u8::try_from(words.len() + 1).unwrap_or(u8::MAX);
        let comment = [&[0, length], words.as_bytes(), &[0]].concat();
        let body = Attributes::default()
            .text(NAME, TABLE)
            .text(RULE_CHAIN, chain.name)
            .nested(RULE_EXPRESSIONS, &encode::expressions(rule))
            .bytes(RULE_WORDS, &comment);
        self.add(NEW_RULE, CREATE | APPEND, format!("adding the rule {words:?}"), &body);
    }

    fn commit(mut self) -> Result<(), Error> {
        self.add(END, 0, "writing the rules".into(), &Attributes::default());
        let answer = socket::request(&self.messages).map_err(|source| Error::kernel("sending the rules", source))?;
        answer.map_err(|refused| {
            let step = usize::try_from(refused.sequence).ok().and_then(|number| self.steps.get(number));
            Error::kernel(step.map_or("sending the rules", String::as_str), refused.error.into())
        })
    }
}
