//! What the instance has to say about itself.

/// The instance's id.
pub const INSTANCE_ID: &str = "i-0123456789abcdef0";

/// The node's own role. A pod that ever sees it has got past the agent.
pub const NODE_ROLE: &str = "node-role-no-pod-may-have";

/// The secret of the node's own credentials, to be looked for where it must not be.
pub const NODE_SECRET: &str = "node/secret/that/no/pod/may/ever/see/000";

/// The item at `path`, under any version of the API. Directories are listed with and without a slash at the end.
pub(super) fn find(path: &str) -> Option<String> {
    let (version, item) = path.strip_prefix('/')?.split_once('/')?;
    let dated = version.len() == 10 && version.split('-').count() == 3;
    if version != "latest" && version != "1.0" && !dated {
        return None;
    }
    let item = item.trim_end_matches('/');
    items().into_iter().find(|(name, _)| *name == item).map(|(_, text)| text).or_else(|| listing(item))
}

fn items() -> Vec<(&'static str, String)> {
    vec![
        ("meta-data/ami-id", "ami-0abcdef1234567890".into()),
        ("meta-data/hostname", "ip-10-0-0-10.eu-west-1.compute.internal".into()),
        ("meta-data/iam/info", iam_info()),
        ("meta-data/iam/security-credentials/node-role-no-pod-may-have", node_credentials()),
        ("meta-data/instance-id", INSTANCE_ID.into()),
        ("meta-data/instance-type", "m7g.large".into()),
        ("meta-data/local-ipv4", "10.0.0.10".into()),
        ("meta-data/placement/availability-zone", "eu-west-1a".into()),
        ("meta-data/placement/region", "eu-west-1".into()),
        ("dynamic/instance-identity/document", identity_document()),
        ("user-data", "#!/bin/sh\nexport TOKEN=node-bootstrap-secret\n".into()),
    ]
}

/// The names directly under `directory`, one a line, directories with a slash.
fn listing(directory: &str) -> Option<String> {
    let mut names: Vec<String> = items()
        .iter()
        .filter_map(|(name, _)| name.strip_prefix(directory)?.strip_prefix('/'))
        .map(|below| below.split_once('/').map_or_else(|| below.to_owned(), |(name, _)| format!("{name}/")))
        .collect();
    names.dedup();
    if names.is_empty() { None } else { Some(names.join("\n")) }
}

fn iam_info() -> String {
    let profile = format!("arn:aws:iam::123456789012:instance-profile/{NODE_ROLE}");
    serde_json::json!({
        "Code": "Success",
        "LastUpdated": "2026-11-21T08:00:00Z",
        "InstanceProfileArn": profile,
        "InstanceProfileId": "AIPASANDBOXNODEPROFILE",
    })
    .to_string()
}

fn node_credentials() -> String {
    serde_json::json!({
        "Code": "Success",
        "LastUpdated": "2026-11-21T08:00:00Z",
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIANODENODENODENODE",
        "SecretAccessKey": NODE_SECRET,
        "Token": "node-session-token-that-no-pod-may-ever-see",
        "Expiration": "2036-11-21T14:00:00Z",
    })
    .to_string()
}

fn identity_document() -> String {
    serde_json::json!({
        "accountId": "123456789012",
        "architecture": "arm64",
        "availabilityZone": "eu-west-1a",
        "imageId": "ami-0abcdef1234567890",
        "instanceId": INSTANCE_ID,
        "instanceType": "m7g.large",
        "privateIp": "10.0.0.10",
        "region": "eu-west-1",
        "version": "2017-09-30",
    })
    .to_string()
}
