//! `kiam-server explain`: asks the running servers why a pod gets credentials, or not.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::{ArgAction, Args};
use kiam_common::report::{Report, Step, Verdict};
use kiam_proto::node as wire;
use kiam_proto::node::explain_request::Pod;

use super::ask::{Answer, AskArgs};

/// The flags of `explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// The pod
    #[arg(value_name = "NAMESPACE/POD", required_unless_present = "ip", value_parser = parse_pod)]
    pod: Option<wire::PodName>,

    /// The pod that has this address, instead
    #[arg(long, value_name = "IP", conflicts_with = "pod")]
    ip: Option<IpAddr>,

    /// Print one JSON object
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    json: bool,

    /// Whom to ask.
    #[command(flatten)]
    ask: AskArgs,
}

fn parse_pod(text: &str) -> Result<wire::PodName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(wire::PodName { namespace: namespace.into(), name: name.into() })
        }
        _ => Err("expected <namespace>/<pod>".into()),
    }
}

/// Prints the explanation: 0 if the pod gets credentials, 1 if not, or if no server can be asked.
pub(super) async fn run(args: ExplainArgs) -> ExitCode {
    let (subject, pod) = match (args.pod, args.ip) {
        (Some(pod), _) => (format!("{}/{}", pod.namespace, pod.name), Some(Pod::Name(pod))),
        (None, ip) => (ip.map(|ip| ip.to_string()).unwrap_or_default(), ip.map(|ip| Pod::Ip(ip.to_string()))),
    };
    let request = wire::ExplainRequest { pod };
    let asked = args.ask.every_server(|mut server| {
        let request = request.clone();
        async move { server.explain(request).await }
    });
    let explanation = match asked.await {
        Ok(answers) => the_whole_one(answers),
        Err(error) => return error.report(),
    };
    match explanation {
        Ok(explanation) => {
            let report = Report::new(subject, explanation.steps.into_iter().map(from_wire).collect());
            report.print(args.json, "the pod gets its credentials", "the pod gets no credentials: see ✗")
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The explanation of the server that supplies the pod's node; if there is none, of any that answered.
fn the_whole_one(answers: Vec<Answer<wire::Explanation>>) -> Result<wire::Explanation, String> {
    let (mut explained, mut failures) = (Vec::new(), Vec::new());
    for Answer { server, said } in answers {
        match said {
            Ok(explanation) => explained.push(explanation),
            Err(why) => failures.push(format!("{server}: {why}")),
        }
    }
    let whole = explained.iter().position(|explanation| explanation.supplied_here).unwrap_or_default();
    let none = || format!("no server explains it: {}", failures.join("; "));
    explained.into_iter().nth(whole).ok_or_else(none)
}

fn from_wire(step: wire::Step) -> Step {
    let verdict = match step.outcome() {
        wire::Outcome::Good => Verdict::Good,
        wire::Outcome::Bad => Verdict::Bad,
        // What a newer server makes of it is for people to judge.
        wire::Outcome::Doubtful | wire::Outcome::Unspecified => Verdict::Doubtful,
        wire::Outcome::Skipped => Verdict::Skipped,
    };
    let wire::Step { check, found, advice, .. } = step;
    Step { check, verdict, found, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(port: u16, said: Result<wire::Explanation, &str>) -> Answer<wire::Explanation> {
        Answer { server: ([127, 0, 0, 1], port).into(), said: said.map_err(Into::into) }
    }

    #[test]
    fn a_pod_is_named_by_namespace_and_name() {
        let pod = parse_pod("team/reader").unwrap();
        assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("team", "reader"));
        for text in ["", "reader", "/reader", "team/", "team/reader/x"] {
            assert!(parse_pod(text).unwrap_err().contains("expected <namespace>/<pod>"), "{text}");
        }
    }

    #[test]
    fn of_several_servers_the_one_that_supplies_the_node_knows_the_whole() {
        let explanation = |supplied_here| wire::Explanation { supplied_here, ..Default::default() };
        let answers = vec![answer(1, Err("gone")), answer(2, Ok(explanation(false))), answer(3, Ok(explanation(true)))];
        assert!(the_whole_one(answers).unwrap().supplied_here);
        assert!(the_whole_one(vec![answer(1, Ok(explanation(false))), answer(2, Err("gone"))]).is_ok());
    }

    #[test]
    fn if_no_server_answers_it_is_told_why_of_each() {
        let why = the_whole_one(vec![answer(1, Err("gone")), answer(2, Err("late"))]).unwrap_err();
        assert_eq!(why, "no server explains it: 127.0.0.1:1: gone; 127.0.0.1:2: late");
    }

    #[test]
    fn an_outcome_that_is_not_known_is_left_to_people() {
        for (outcome, read) in [(1, Verdict::Good), (2, Verdict::Bad), (4, Verdict::Skipped), (9, Verdict::Doubtful)] {
            assert_eq!(from_wire(wire::Step { outcome, ..Default::default() }).verdict, read);
        }
    }
}
