//! What operators see: metrics, events, logs; and that there is no secret in any of them.

use serde_json::Value;

use super::{Outcome, soon};
use crate::imds::NODE_SECRET;
use crate::real::http::{LOCALHOST, get};
use crate::sandbox::world::World;
use crate::stack::Program;
use crate::sts::OWN_SECRET_KEY;

const SERVER_SERIES: [&str; 14] = [
    "kiam_sts_cacheSize",
    "kiam_sts_cache_hit_total",
    "kiam_sts_cache_miss_total",
    "kiam_sts_issuing_errors_total",
    "kiam_sts_assumerole_timing_seconds_bucket",
    "kiam_sts_assumerole_current",
    "kiam_k8s_dropped_pods_total",
    "grpc_server_started_total",
    "grpc_server_handled_total",
    "grpc_server_msg_received_total",
    "grpc_server_msg_sent_total",
    "grpc_server_tls_certificate_expiry_seconds",
    "grpc_server_tls_certificate_update_error",
    "grpc_server_tls_certificate_verify_error",
];

const AGENT_SERIES: [&str; 15] = [
    "kiam_metadata_handler_latency_seconds_bucket",
    "kiam_metadata_credential_fetch_errors_total",
    "kiam_metadata_credential_encode_errors_total",
    "kiam_metadata_find_role_errors_total",
    "kiam_metadata_empty_role_total",
    "kiam_metadata_success_total",
    "kiam_metadata_responses_total",
    "kiam_metadata_proxy_requests_blocked_total",
    "grpc_client_started_total",
    "grpc_client_handled_total",
    "grpc_client_msg_received_total",
    "grpc_client_msg_sent_total",
    "grpc_client_tls_certificate_expiry_seconds",
    "grpc_client_tls_certificate_update_error",
    "grpc_client_tls_certificate_verify_error",
];

/// Each program has the series that Kiam's dashboards and alerts are made of.
pub(super) async fn metrics(world: &World) -> Outcome {
    has_series(&world.stack.server, &SERVER_SERIES).await?;
    for node in &world.stack.nodes {
        has_series(&node.agent, &AGENT_SERIES).await?;
    }
    Ok(())
}

/// The forbidden pod and the one that STS refuses have an event each.
pub(super) async fn events(world: &World) -> Outcome {
    soon(async || {
        let events = world.stack.kube.events();
        for (pod, reason) in [("curious", "KiamRoleForbidden"), ("untrusted", "KiamCredentialError")] {
            let is_it = |event: &Value| {
                event["involvedObject"]["name"] == pod
                    && event["reason"] == reason
                    && event["source"]["component"] == "kiam.server"
            };
            if !events.iter().any(|event| is_it(event)) {
                return Err(format!("{pod} has no {reason}"));
            }
        }
        Ok(())
    })
    .await
}

/// Looks for every secret that was ever given out, by value.
pub(super) async fn secrets(world: &World) -> Outcome {
    let issued = world.stack.sts.issued();
    let mut secrets: Vec<&str> = vec![OWN_SECRET_KEY, NODE_SECRET];
    secrets.extend(issued.iter().flat_map(|issued| [&*issued.secret_access_key, &*issued.session_token]));
    let mut places = vec![("the events".to_owned(), format!("{:?}", world.stack.kube.events()))];
    for program in world.stack.programs() {
        let log = std::fs::read_to_string(program.log()).map_err(|error| error.to_string())?;
        places.push((format!("the log of {}", program.name()), log));
        places.push((format!("/metrics of {}", program.name()), metrics_of(program).await));
    }
    for (place, text) in places {
        if secrets.iter().any(|secret| text.contains(secret)) {
            return Err(format!("a secret is in {place}"));
        }
    }
    Ok(())
}

async fn has_series(program: &Program, series: &[&str]) -> Outcome {
    let metrics = metrics_of(program).await;
    let is_there = |name: &str| metrics.lines().any(|line| line.starts_with(name));
    let missing: Vec<&str> = series.iter().copied().filter(|name| !is_there(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("{} lacks {}", program.name(), missing.join(", "))) }
}

async fn metrics_of(program: &Program) -> String {
    get(LOCALHOST, program.addresses().ops, "/metrics").await.body
}
