//! `kiam-agent intercept`, an agent without rights beside it, and the rights that an agent keeps.

use std::fs;
use std::process::Command;

use kiam_tests::netns::{METADATA, World, inside, sh};
use kiam_tests::real::eventually;
use kiam_tests::real::http::{LOCALHOST, get};

use crate::backends::{ALL, BINARY, Backend, run};

#[test]
fn the_command_adds_checks_shows_and_removes_the_rules_of_every_kind() {
    inside(async {
        let (code, said) = Backend::Nftables.command("add", "eni+");
        assert!(code == Some(2) && said.contains("--host: 10.0.0.1 is no address of this node"), "{said}");
        sh("ip addr add 10.0.0.1/32 dev lo; ip addr add fd00:a::1/128 dev lo nodad");
        for backend in ALL {
            let act = |action: &str| backend.command(action, "eni+");
            assert_eq!(act("check"), (Some(1), "there are no rules".into()), "{backend:?}");
            assert_eq!(act("add"), (Some(0), "the rules are there".into()), "{backend:?}");
            assert_eq!(act("add").0, Some(0), "again");
            assert_eq!(act("check").0, Some(0));
            let (_, shown) = act("show");
            assert!(shown.contains("kiam: from eni+ to 169.254.169.254 port 80: to 10.0.0.1:3100\n"), "{shown}");
            let (code, other) = backend.command("check", "eni+,vlan+");
            assert!(code == Some(1) && other.contains("missing: kiam: from vlan+"), "{other}");
            assert_eq!(act("remove").0, Some(0));
            assert_eq!(act("remove").0, Some(0), "again");
            assert_eq!(act("check").0, Some(1));
        }
        let legacy =
            "for table in nat mangle; do iptables-legacy-save -t $table; ip6tables-legacy-save -t $table; done";
        assert!(!sh(&format!("nft list ruleset; {legacy}")).to_lowercase().contains("kiam"), "something is left");
    });
}

#[test]
fn without_rights_the_command_and_the_agent_end_with_one_line_that_says_what_is_missing() {
    inside(async {
        let world = World::start(BINARY).await;
        let spec = world.agent_spec(&Backend::Nftables.flags("eni+"), "");
        let add = format!("agent intercept add {}", Backend::Nftables.flags("eni+"));
        for arguments in [spec.arguments.join(" "), add] {
            let mut unable = Command::new("setpriv");
            unable.args(["--bounding-set=-all", "--inh-caps=-all", BINARY]).args(arguments.split(' '));
            let (code, said) = run(&mut unable);
            let last = said.lines().last().unwrap();
            assert!(
                code == Some(1) && last.contains("Operation not permitted") && last.contains("NET_ADMIN"),
                "{said}"
            );
        }
    });
}

#[test]
fn an_agent_without_rights_answers_where_an_init_container_wrote_the_rules() {
    inside(async {
        let mut world = World::start(BINARY).await;
        let pod = world.pod("eni1");
        assert_eq!(Backend::Nftables.command("add", "eni+").0, Some(0));
        let mut spec = world.agent_spec("--bind=::", "");
        spec.arguments.splice(0..0, ["--bounding-set=-all", "--inh-caps=-all", BINARY].map(Into::into));
        spec.binary = sh("command -v setpriv").trim().into();
        let agent = kiam_tests::stack::Program::start(spec).await.unwrap();
        for address in METADATA {
            assert_eq!(pod.role_at(address).await, pod.role);
        }
        let text = get(LOCALHOST, agent.addresses().ops, "/metrics").await.body;
        let via = |via: &str| {
            kiam_common::testing::metrics::value(
                &text,
                &format!("kiam_interception_connections_total{{via=\"{via}\"}}"),
            )
        };
        assert_eq!((via("rules"), via("direct")), (Some(2.0), Some(0.0)));
        assert_eq!(world.metadata.seen(), (0, 0));
    });
}

#[test]
fn only_the_keeper_of_the_rules_keeps_the_right_to_change_the_network() {
    inside(async {
        let world = World::start(BINARY).await;
        let mut spec = world.agent_spec(&Backend::Nftables.flags("eni+"), "");
        // Spans leave from a thread that a library starts.
        spec.environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT".into(), "http://127.0.0.1:1".into()));
        let agent = kiam_tests::stack::Program::start(spec).await.unwrap();
        let process = agent.id().unwrap();
        let rights = |thread: u32| {
            let status = fs::read_to_string(format!("/proc/{process}/task/{thread}/status")).unwrap();
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.trim().to_owned()
            };
            (field("Name:"), u64::from_str_radix(&field("CapPrm:"), 16).unwrap(), field("NoNewPrivs:"))
        };
        // The first thread gives its rights up just after it has said that the agent answers.
        eventually("the first thread to give up its rights", async || (rights(process).1 == 0).then_some(())).await;
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let threads: Vec<u32> =
            tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
        let (net_admin, net_raw) = (1 << 12, 1 << 13);
        let (mut keepers, mut exporters) = (0, 0);
        for thread in threads {
            let (name, permitted, no_new) = rights(thread);
            exporters += usize::from(name.starts_with("OpenTelemetry"));
            match name.as_str() {
                "interception" => {
                    keepers += 1;
                    assert_eq!((permitted, no_new.as_str()), (net_admin | net_raw, "1"));
                }
                // The thread that ends a child of the tests with its parent is no part of the agent.
                _ if thread != process && name == "kiam-sandbox" => {}
                _ => assert_eq!((permitted, no_new.as_str()), (0, "1"), "{name}"),
            }
        }
        assert_eq!((keepers, exporters), (1, 1));
    });
}

#[test]
fn a_host_that_is_another_node_is_refused_before_anything_is_written() {
    inside(async {
        let world = World::start(BINARY).await;
        let flags = Backend::Nftables.flags("eni+").replace("10.0.0.1", "10.0.0.2");
        let Err(error) = world.agent(&flags, "").await else { panic!("it started") };
        assert!(error.to_string().contains("--host: 10.0.0.2 is no address of this node"), "{error}");
        assert_eq!(sh("nft list ruleset"), "");
    });
}
