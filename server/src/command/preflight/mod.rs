//! `kiam-server preflight`: reads a cluster that Kiam serves, and says what this server would do differently there.
//! [`judge`] decides, from plain lists; here is how they are read and shown.

mod judge;
mod kiam;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use clap::{ArgAction, Args};
use kiam_common::args::USAGE_EXIT_CODE;
use kiam_common::report::printable;
use serde::Serialize;

use crate::app;
use crate::directory::watch::list::{Listed, list};
use crate::role::resolver::BaseArn;
use judge::{Finding, Settings, judge};

/// How many pods of one finding the text names.
const NAMED: usize = 5;

/// The flags of `preflight`.
#[derive(Args, Clone, Debug)]
pub struct PreflightArgs {
    /// Kubernetes configuration file; empty inside a cluster
    #[arg(long, value_name = "FILE", default_value = "")]
    kubeconfig: String,

    /// Kiam's --role-base-arn, or what Kiam detects, such as `arn:aws:iam::123456789012:role/`
    #[arg(long, value_name = "ARN")]
    role_base_arn: BaseArn,

    /// Kiam runs with this flag, too
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    disable_strict_namespace_regexp: bool,

    /// Print one JSON object
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    json: bool,
}

/// Prints the findings: 0 if nothing changes, 1 if something does, or if the cluster cannot be read.
pub(super) async fn run(args: PreflightArgs) -> ExitCode {
    let kubeconfig = (!args.kubeconfig.is_empty()).then(|| Path::new(&args.kubeconfig));
    let config = app::kubernetes_config(kubeconfig).await;
    let client = match config.and_then(|config| Ok(kube::Client::try_from(config)?)) {
        Ok(client) => client,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(USAGE_EXIT_CODE);
        }
    };
    match list(&client).await {
        Ok(listed) => {
            let settings = Settings { base: args.role_base_arn, anchored: !args.disable_strict_namespace_regexp };
            Preflight::new(&listed, settings).print(args.json)
        }
        Err(error) => {
            eprintln!("error: cannot read the cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was found in a cluster.
#[derive(Debug, Serialize)]
struct Preflight {
    pods: usize,
    namespaces: usize,
    /// Whether nothing changes.
    good: bool,
    findings: Vec<Finding>,
}

impl Preflight {
    fn new(listed: &Listed, settings: Settings) -> Self {
        let findings = judge(listed, settings);
        let good = !findings.iter().any(|finding| finding.changes);
        Self { pods: listed.pods.len(), namespaces: listed.namespaces.len(), good, findings }
    }

    fn to_text(&self) -> String {
        let findings = self.findings.iter().map(|finding| {
            let mark = if finding.changes { '✗' } else { '?' };
            let Finding { objects, found, advice, .. } = finding;
            format!("{mark} {}: {}\n  → {}\n", named(objects), printable(found), printable(advice))
        });
        let read = format!("{} pods and {} namespaces read\n", self.pods, self.namespaces);
        let end = if self.good { "nothing behaves differently" } else { "what is marked ✗ behaves differently" };
        read + &findings.collect::<String>() + end + "\n"
    }

    fn print(&self, as_json: bool) -> ExitCode {
        if as_json {
            println!("{}", serde_json::to_string_pretty(self).unwrap_or_default());
        } else {
            print!("{}", self.to_text());
        }
        if self.good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn named(objects: &[String]) -> String {
    let some: Vec<String> = objects.iter().take(NAMED).map(|object| printable(object)).collect();
    match objects.len() - some.len() {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}
