//! What the ledger answers, and when it no longer does.

mod histories;

use std::net::Ipv4Addr;

use kiam_common::reason::{Reason, Refusal};
use tokio::time::advance;

use super::fake::{FakeNetwork, bind, grant, of_pod, snapshot};
use super::*;

const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const MAX_STALE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_hours(1);

fn held(text: &'static str) -> Found {
    Found::Held(text.into())
}

fn refused(reason: Reason) -> Refusal {
    Refusal { reason, message: "why".into(), aws_code: None }
}

fn ask(ledger: &Ledger, ip: IpAddr) -> Found {
    ledger.credentials(ip, "reader", false)
}

/// A ledger without a network to pin to, with a pod `a`.
fn unpinned() -> Ledger {
    let ledger = Ledger::new(Arc::new(Opaque), MAX_STALE);
    ledger.replace(snapshot([bind(IP, "a", 1), grant(1, "of a", HOUR)]));
    ledger
}

/// The same, whose address leads to interface 7.
fn pinned() -> (Ledger, Arc<FakeNetwork>) {
    let network = Arc::new(FakeNetwork::default());
    network.lead(IP, 7, None);
    let ledger = Ledger::new(network.clone(), MAX_STALE);
    ledger.replace(snapshot([bind(IP, "a", 1), grant(1, "of a", HOUR)]));
    (ledger, network)
}

#[tokio::test]
async fn an_empty_ledger_leaves_everything_to_the_server() {
    let ledger = Ledger::new(Arc::new(Opaque), MAX_STALE);
    assert_eq!((ask(&ledger, IP), ledger.role_name(IP)), (Found::AskServer, Found::AskServer));
    ledger.lost();
    assert_eq!((ask(&ledger, IP), ledger.is_supplied()), (Found::AskServer, false));
}

#[tokio::test]
async fn each_document_and_the_roles_name_are_held() {
    let ledger = unpinned();
    assert_eq!(ledger.role_name(IP), held("reader"));
    assert_eq!(ledger.credentials(IP, "reader", false), held("of a"));
    assert_eq!(ledger.credentials(IP, "arn:aws:iam::123456789012:role/reader", true), held("of a, extended"));
    for role in ["", "/", "//reader", "readerx", "Reader", "arn:aws:iam::210987654321:role/reader"] {
        assert_eq!(ledger.credentials(IP, role, false), Found::AskServer, "{role}");
    }
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_all_that_was_known() {
    let ledger = unpinned();
    ledger.replace(snapshot([bind(OTHER, "b", 1)]));
    assert_eq!((ask(&ledger, IP), ledger.role_name(OTHER)), (Found::AskServer, held("reader")));
    assert_eq!(ask(&ledger, OTHER), Found::AskServer, "another stream's session 1 is another session");
    ledger.apply([grant(1, "of b", HOUR)]).unwrap();
    assert_eq!(ask(&ledger, OTHER), held("of b"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_keeps_its_credentials_until_a_new_server_has_its_own() {
    let ledger = unpinned();
    ledger.replace(snapshot([bind(IP, "a", 5), bind(OTHER, "b", 5)]));
    assert_eq!((ask(&ledger, IP), ask(&ledger, OTHER)), (held("of a"), Found::AskServer), "b never had any");
    ledger.replace(snapshot([bind(IP, "a", 3)]));
    assert_eq!(ask(&ledger, IP), held("of a"), "however often it moves");
    ledger.apply([bind(IP, "a", 4)]).unwrap();
    assert_eq!(ask(&ledger, IP), held("of a"));
    advance(HOUR).await;
    assert_eq!(ask(&ledger, IP), Found::AskServer, "they end when they end");
    ledger.apply([grant(4, "new", HOUR)]).unwrap();
    assert_eq!(ask(&ledger, IP), held("new"));
}

#[tokio::test]
async fn another_pod_or_another_role_inherits_nothing() {
    let role_b = Change::Bind(IP, of_pod("a", Decision::Refused(refused(Reason::NoRole))));
    for next in
        [vec![bind(IP, "b", 5)], vec![role_b.clone(), bind(IP, "a", 5)], vec![Change::Unbind(IP), bind(IP, "a", 5)]]
    {
        let ledger = unpinned();
        ledger.replace(snapshot([bind(IP, "a", 5)]));
        ledger.apply(next.clone()).unwrap();
        assert_eq!(ask(&ledger, IP), Found::AskServer, "{next:?}");
    }
    let ledger = unpinned();
    ledger.replace(snapshot([role_b]));
    ledger.replace(snapshot([bind(IP, "a", 5)]));
    assert_eq!(ask(&ledger, IP), Found::AskServer, "it was refused in the meantime");
}

#[tokio::test]
async fn changes_take_effect_in_their_order() {
    let ledger = unpinned();
    ledger.apply([Change::Unbind(IP), bind(IP, "b", 2), grant(2, "old", HOUR), grant(2, "of b", HOUR)]).unwrap();
    assert_eq!(ask(&ledger, IP), held("of b"));
    ledger.apply([bind(IP, "b", 3), Change::Revoke(2)]).unwrap();
    assert_eq!((ask(&ledger, IP), ledger.sessions()), (Found::AskServer, 1));
    ledger.apply([Change::Unbind(IP)]).unwrap();
    assert_eq!(ledger.role_name(IP), Found::AskServer);
}

#[tokio::test]
async fn pods_that_share_a_session_share_its_credentials_and_their_renewal() {
    let ledger = unpinned();
    ledger.apply([bind(OTHER, "b", 1)]).unwrap();
    ledger.apply([grant(1, "renewed", HOUR)]).unwrap();
    assert_eq!((ask(&ledger, IP), ask(&ledger, OTHER)), (held("renewed"), held("renewed")));
}

#[tokio::test(start_paused = true)]
async fn credentials_end_by_a_clock_that_nobody_sets() {
    let ledger = unpinned();
    advance(HOUR.checked_sub(Duration::from_millis(1)).unwrap()).await;
    assert_eq!(ask(&ledger, IP), held("of a"));
    advance(Duration::from_millis(1)).await;
    assert_eq!((ask(&ledger, IP), ledger.role_name(IP)), (Found::AskServer, held("reader")));
}

#[tokio::test]
async fn nothing_that_a_server_names_grows_without_limit() {
    let ledger = Ledger::new(Arc::new(Opaque), MAX_STALE);
    let (beyond, address) = (u32::try_from(told::ROOM).unwrap(), |n: u32| IpAddr::from(n.to_be_bytes()));
    let last = address(beyond);
    assert_eq!(ledger.apply((0..=beyond).map(|n| bind(address(n), "a", 1))), Err(Full));
    assert_eq!((ledger.role_name(last), ledger.bindings(Standing::Unpinned)), (Found::AskServer, told::ROOM));
    assert_eq!(ledger.apply((0..5000).map(|session| grant(session, "text", HOUR))), Err(Full));
    assert_eq!(ledger.sessions(), told::ROOM);
}

#[tokio::test]
async fn no_document_is_ever_shown() {
    let change = grant(1, "wJalrXUtnFEMI", HOUR);
    let told = snapshot([change.clone()]);
    let shown = format!("{change:?} {told:?}");
    assert!(shown.contains("Grant") && !shown.contains("wJalrXUtnFEMI"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_pinned_counts_for_max_stale_after_the_loss() {
    let ledger = unpinned();
    ledger.apply([Change::Bind(OTHER, of_pod("b", Decision::Refused(refused(Reason::NoRole))))]).unwrap();
    advance(HOUR / 2).await;
    ledger.lost();
    advance(MAX_STALE.checked_sub(Duration::from_millis(1)).unwrap()).await;
    assert_eq!((ask(&ledger, IP), ask(&ledger, OTHER)), (held("of a"), Found::Refused(refused(Reason::NoRole))));
    ledger.lost();
    advance(Duration::from_millis(1)).await;
    assert_eq!((ask(&ledger, IP), ask(&ledger, OTHER)), (Found::Stale, Found::Stale), "lost again is not news");
    ledger.replace(snapshot([bind(IP, "a", 1), grant(1, "of a", HOUR)]));
    assert_eq!(ask(&ledger, IP), held("of a"));
}

#[tokio::test(start_paused = true)]
async fn what_is_pinned_counts_until_its_credentials_end() {
    let (ledger, _network) = pinned();
    ledger.lost();
    advance(HOUR.checked_sub(Duration::from_millis(1)).unwrap()).await;
    assert_eq!((ask(&ledger, IP), ledger.bindings(Standing::Pinned)), (held("of a"), 1));
    advance(Duration::from_millis(1)).await;
    assert_eq!(ask(&ledger, IP), Found::AskServer);
}

#[tokio::test]
async fn an_address_that_leads_elsewhere_counts_for_nothing_until_another_pod_is_named() {
    for elsewhere in [Some(8), None] {
        let (ledger, network) = pinned();
        match elsewhere {
            Some(interface) => network.lead(IP, interface, None),
            None => network.cut(IP),
        }
        ledger.examine(IP);
        assert_eq!((ask(&ledger, IP), ledger.role_name(IP)), (Found::Unconfirmed, Found::Unconfirmed));
        ledger.apply([bind(IP, "a", 1), grant(1, "of a", HOUR)]).unwrap();
        assert_eq!(ask(&ledger, IP), Found::Unconfirmed, "said again by a server that lags");
        ledger.replace(snapshot([bind(IP, "a", 4), grant(4, "of a", HOUR)]));
        assert_eq!(ask(&ledger, IP), Found::Unconfirmed, "said by another server that lags");
        network.lead(IP, 8, None);
        ledger.examine(IP);
        ledger.apply([bind(IP, "b", 5), grant(5, "of b", HOUR)]).unwrap();
        assert_eq!((ask(&ledger, IP), ledger.bindings(Standing::Pinned)), (held("of b"), 1));
    }
}

#[tokio::test]
async fn an_address_that_leads_back_to_its_pod_is_confirmed() {
    let (ledger, network) = pinned();
    network.cut(IP);
    ledger.examine(IP);
    assert_eq!(ask(&ledger, IP), Found::Unconfirmed);
    network.lead(IP, 7, None);
    ledger.examine(IP);
    assert_eq!(ask(&ledger, IP), held("of a"));
}

#[tokio::test]
async fn on_a_bridge_the_hardware_address_tells_pods_apart_once_it_is_known() {
    let (ledger, network) = pinned();
    for (hardware, wanted) in [
        (Some([2, 0, 0, 0, 0, 1]), held("of a")),
        (None, held("of a")),
        (Some([2, 0, 0, 0, 0, 1]), held("of a")),
        (Some([2, 0, 0, 0, 0, 2]), Found::Unconfirmed),
    ] {
        network.lead(IP, 7, hardware);
        ledger.examine(IP);
        assert_eq!(ask(&ledger, IP), wanted, "{hardware:?}");
    }
}

#[tokio::test]
async fn a_pod_that_another_has_followed_does_not_come_back() {
    let ledger = unpinned();
    ledger.apply([bind(IP, "b", 2), grant(2, "of b", HOUR)]).unwrap();
    ledger.replace(snapshot([bind(IP, "a", 1), grant(1, "of a", HOUR)]));
    assert_eq!(ask(&ledger, IP), Found::Unconfirmed, "a server that lags");
    ledger.apply([Change::Unbind(IP), bind(IP, "b", 3), grant(3, "of b", HOUR)]).unwrap();
    assert_eq!(ask(&ledger, IP), held("of b"));
}

#[tokio::test(start_paused = true)]
async fn pods_that_left_are_remembered_for_a_while_only() {
    let ledger = unpinned();
    ledger.apply([Change::Unbind(IP)]).unwrap();
    assert_eq!(ledger.books().tenants.len(), 1);
    advance(Duration::from_mins(10)).await;
    ledger.apply([bind(OTHER, "b", 2)]).unwrap();
    assert_eq!(ledger.books().tenants.len(), 1);
    ledger.apply((0..10_000_u32).map(|uid| bind(IP, &uid.to_string(), 1))).unwrap();
    assert!(ledger.books().tenants.len() <= 4098, "{}", ledger.books().tenants.len());
}

#[tokio::test]
async fn a_pod_that_shared_its_address_for_a_moment_has_it_again() {
    let ledger = unpinned();
    let shared = of_pod("b", Decision::Refused(refused(Reason::PodAmbiguous)));
    ledger.apply([Change::Bind(IP, shared)]).unwrap();
    assert_eq!(ask(&ledger, IP), Found::Refused(refused(Reason::PodAmbiguous)));
    ledger.apply([bind(IP, "a", 1)]).unwrap();
    assert_eq!(ask(&ledger, IP), held("of a"));
}

#[tokio::test]
async fn a_pod_that_a_server_names_late_does_not_follow_the_one_it_names_after() {
    let ledger = unpinned();
    ledger.replace(snapshot([bind(IP, "older", 3), grant(3, "of older", HOUR)]));
    assert_eq!(ask(&ledger, IP), held("of older"), "for all that is known");
    ledger.apply([bind(IP, "a", 4), grant(4, "of a", HOUR)]).unwrap();
    assert_eq!(ask(&ledger, IP), held("of a"), "in the end the server says so, too");
    ledger.replace(snapshot([bind(IP, "older", 5), grant(5, "of older", HOUR)]));
    assert_eq!(ask(&ledger, IP), Found::Unconfirmed, "by now it is known who was there first");
}

#[tokio::test(start_paused = true)]
async fn another_server_is_doubted_for_a_while_where_the_address_still_leads_to_the_pod_before() {
    let (ledger, _network) = pinned();
    ledger.replace(snapshot([bind(IP, "b", 3), grant(3, "of b", HOUR)]));
    assert_eq!(ask(&ledger, IP), Found::Unconfirmed);
    ledger.apply([bind(IP, "a", 4), grant(4, "of a", HOUR)]).unwrap();
    assert_eq!(ask(&ledger, IP), held("of a"), "it lagged");

    let (ledger, _network) = pinned();
    ledger.replace(snapshot([bind(IP, "b", 3), grant(3, "of b", HOUR)]));
    advance(Duration::from_secs(30)).await;
    assert_eq!(ask(&ledger, IP), held("of b"), "the one before it lagged");
    ledger.replace(snapshot([bind(IP, "b", 5), grant(5, "of b", HOUR)]));
    assert_eq!(ask(&ledger, IP), held("of b"));
}

#[tokio::test]
async fn pods_that_share_an_address_are_refused_wherever_it_leads() {
    let (ledger, network) = pinned();
    network.lead(IP, 8, None);
    ledger.examine(IP);
    assert_eq!(ask(&ledger, IP), Found::Unconfirmed);
    let shared = of_pod("a", Decision::Refused(refused(Reason::PodAmbiguous)));
    ledger.apply([Change::Bind(IP, shared)]).unwrap();
    assert_eq!(ask(&ledger, IP), Found::Refused(refused(Reason::PodAmbiguous)));
}

#[tokio::test]
async fn whoever_waits_is_told_of_changes_by_streams_and_by_the_network() {
    let (ledger, network) = pinned();
    let mut changes = ledger.changes();
    network.lead(IP, 8, None);
    ledger.examine_all();
    assert!(changes.has_changed().unwrap());
    assert_eq!(ask(&ledger, IP), Found::Unconfirmed);
    changes.mark_unchanged();
    ledger.examine_all();
    assert!(!changes.has_changed().unwrap(), "nothing new");
    ledger.apply([bind(IP, "b", 2)]).unwrap();
    assert!(changes.has_changed().unwrap());
}

#[tokio::test]
async fn a_pod_whose_address_led_nowhere_yet_is_pinned_when_it_leads_somewhere() {
    for (is_connected, wanted) in [(true, Found::Unconfirmed), (false, held("of a"))] {
        let network = Arc::new(FakeNetwork::default());
        let ledger = Ledger::new(network.clone(), MAX_STALE);
        ledger.replace(snapshot([bind(IP, "a", 1), grant(1, "of a", HOUR)]));
        if !is_connected {
            ledger.lost();
        }
        for interface in [7, 8] {
            network.lead(IP, interface, None);
            ledger.examine(IP);
        }
        assert_eq!(ask(&ledger, IP), wanted, "pinned only by a recent word: {is_connected}");
    }
}
