//! What is shown of a fleet, and what is warned of.

use kiam_proto::node as wire;

use super::*;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn node(name: &str) -> wire::Node {
    let seconds = now().as_second();
    let status = wire::Status {
        applied_sequence: 9,
        requests: 7,
        certificate_not_after: seconds + 30 * 86_400,
        pinned: 2,
        unpinned: 1,
        interception: wire::Interception::Healthy.into(),
    };
    wire::Node {
        name: name.into(),
        agent_version: "0.1.0".into(),
        config_hash: "c0ffee".into(),
        peer: "10.0.0.1:1234".into(),
        connected_since: seconds - 7200,
        last_seen: seconds - 3,
        sent_sequence: 11,
        status: Some(status),
        binding: "token".into(),
        ..wire::Node::default()
    }
}

fn said_by(instance: &str, nodes: Vec<wire::Node>) -> ListNodesResponse {
    ListNodesResponse { nodes, server_version: "0.1.0".into(), instance: instance.into(), ..Default::default() }
}

fn answer(port: u16, said: Result<Vec<wire::Node>, &str>) -> Answer<ListNodesResponse> {
    let listed = |nodes| said_by("", nodes);
    Answer { server: ([127, 0, 0, 1], port).into(), said: said.map(listed).map_err(Into::into) }
}

fn warnings(nodes: Vec<wire::Node>) -> Vec<String> {
    Fleet::new(vec![answer(1, Ok(nodes))], now()).warnings
}

#[test]
fn the_nodes_of_all_servers_are_one_table_by_name() {
    let fleet = Fleet::new(vec![answer(1, Ok(vec![node("b")])), answer(2, Ok(vec![node("a")]))], now());
    let expected = "\
NODE  VERSION  CONNECTED  SEEN  LAG  INTERCEPTION  CERTIFICATE  BINDING  SERVER
a     0.1.0    2h 0m      3s    2    healthy       30d 0h       token    127.0.0.1:2
b     0.1.0    2h 0m      3s    2    healthy       30d 0h       token    127.0.0.1:1
";
    assert_eq!(fleet.to_text(now()), expected);
    assert_eq!(fleet.warnings, Vec::<String>::new());
}

#[test]
fn servers_that_only_others_tell_of_are_shown_and_each_is_shown_once() {
    let peer = |address: &str, said: Result<ListNodesResponse, &str>| wire::Peer {
        address: address.into(),
        error: said.as_ref().err().map(ToString::to_string).unwrap_or_default(),
        said: said.ok(),
    };
    let told = |instance, node_name, peers| ListNodesResponse { peers, ..said_by(instance, vec![node(node_name)]) };
    let asked = |port, said| Answer { server: ([127, 0, 0, 1], port).into(), said: Ok(said) };
    let one = told(
        "one",
        "a",
        vec![
            peer("10.0.0.2:443", Ok(said_by("two", vec![node("b")]))),
            peer("10.0.0.3:443", Err("it is away")),
            peer("10.0.0.4:443", Ok(said_by("four", vec![node("d")]))),
        ],
    );
    let two =
        told("two", "b", vec![peer("10.0.0.3:443", Err("gone")), peer("10.0.0.1:443", Ok(said_by("one", vec![])))]);
    let fleet = Fleet::new(vec![asked(1, one), asked(2, two)], now());
    let servers: Vec<&str> = fleet.servers.iter().map(|server| &*server.address).collect();
    assert_eq!(servers, ["127.0.0.1:1", "127.0.0.1:2", "10.0.0.3:443", "10.0.0.4:443"]);
    let nodes: Vec<_> = fleet.nodes.iter().map(|node| (&*node.name, &*node.server)).collect();
    assert_eq!(nodes, [("a", "127.0.0.1:1"), ("b", "127.0.0.1:2"), ("d", "10.0.0.4:443")]);
    assert_eq!(fleet.warnings, ["10.0.0.3:443 does not answer: it is away"]);
}

#[test]
fn an_agent_that_has_said_nothing_is_shown_all_the_same() {
    let silent = wire::Node { status: None, ..node("a") };
    let text = Fleet::new(vec![answer(1, Ok(vec![silent]))], now()).to_text(now());
    assert!(text.contains("a     0.1.0    2h 0m      3s    -    -             -            token"), "{text}");
}

#[test]
fn versions_configurations_rules_and_certificates_that_are_odd_are_warned_of() {
    let status = node("a").status.unwrap();
    let broken = wire::Status { interception: wire::Interception::Broken.into(), ..status };
    let ending = wire::Status { certificate_not_after: now().as_second() + 60, ..status };
    let odd = vec![
        node("a"),
        wire::Node { agent_version: "0.0.9".into(), ..node("b") },
        wire::Node { config_hash: "dead".into(), ..node("c") },
        wire::Node { status: Some(broken), ..node("d") },
        wire::Node { status: Some(ending), ..node("e") },
    ];
    assert_eq!(
        warnings(odd),
        [
            "agents have another version than their server: b",
            "agents are set up in 2 ways: c0ffee (a, b, d, e), dead (c)",
            "interception is broken: d",
            "the agent's certificate ends within 7 days, or has ended: e",
        ]
    );
}

#[test]
fn many_nodes_are_counted_and_not_all_named() {
    let many = (0..9).map(|n| wire::Node { agent_version: "0".into(), ..node(&n.to_string()) }).collect();
    assert_eq!(warnings(many), ["agents have another version than their server: 0, 1, 2, 3, 4 and 4 more"]);
}

#[test]
fn a_server_that_does_not_answer_or_is_not_ready_is_warned_of() {
    let starting = ListNodesResponse {
        nodes: Vec::new(),
        server_version: "0.2.0".into(),
        waiting_for: vec!["pods".into(), "namespaces".into()],
        ..Default::default()
    };
    let starting = Answer { server: ([127, 0, 0, 1], 3).into(), said: Ok(starting) };
    let fleet = Fleet::new(vec![answer(1, Ok(Vec::new())), answer(2, Err("connection refused")), starting], now());
    assert_eq!(
        fleet.warnings,
        [
            "127.0.0.1:2 does not answer: connection refused",
            "127.0.0.1:3 is not ready: it waits for pods, namespaces",
            "servers have different versions: 0.1.0, 0.2.0",
        ]
    );
}

#[test]
fn json_has_servers_nodes_and_warnings() {
    let fleet = Fleet::new(vec![answer(1, Ok(vec![node("a")])), answer(2, Err("gone"))], now());
    let json = serde_json::to_value(&fleet).unwrap();
    assert_eq!(json["servers"][1]["error"], "gone");
    let node = &json["nodes"][0];
    assert_eq!((&node["name"], &node["lag"], &node["requests"]), (&"a".into(), &2.into(), &7.into()));
    assert_eq!((&node["interception"], &node["server"]), (&"healthy".into(), &"127.0.0.1:1".into()));
    assert_eq!(node["certificate_ends"], "2026-12-21T10:00:00Z");
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn what_agents_say_of_themselves_cannot_write_to_the_terminal() {
    let rude = wire::Node { agent_version: "\x1b[2J\n".repeat(1000), ..node("a") };
    let text = Fleet::new(vec![answer(1, Ok(vec![rude]))], now()).to_text(now());
    assert!(!text.contains('\x1b') && text.lines().count() == 3 && text.len() < 1000, "{text}");
}
