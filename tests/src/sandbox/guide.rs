//! What is printed above the table: where everything is, and commands to copy.

use super::fleet::Fleet;
use super::world::World;
use crate::stack::REGION;

/// The addresses and the commands.
pub(super) fn text(world: &World, fleet: &Fleet) -> String {
    [addresses(world), commands(world, fleet), "Ctrl-C ends everything.\n".into()].join("\n")
}

fn addresses(world: &World) -> String {
    let stack = &world.stack;
    let server = stack.server.addresses();
    let mut lines = vec![
        "kiam-rs sandbox: all of it on loopback, AWS and Kubernetes emulated".to_owned(),
        String::new(),
        format!("  STS             {}", stack.sts.url()),
        format!("  Kubernetes API  {}", stack.kube.url()),
        format!("  metadata        {}  (the instances'; pods never see its role)", stack.imds.url()),
        format!("  server          gRPC {}  http://{}/metrics", server.main, server.ops),
    ];
    for node in &stack.nodes {
        let agent = node.agent.addresses();
        lines.push(format!("  agent {:<10}http://{}  http://{}/metrics", node.name, agent.main, agent.ops));
    }
    lines.push(format!("  logs            {}/*.log", stack.directory().display()));
    lines.push(format!("  pods            {}  (edit it: changes are applied)", world.pods_file().display()));
    lines.join("\n") + "\n"
}

/// The pod of the commands, if it is there; otherwise the first that has a role.
const EXAMPLE: &str = "shop/catalog-1";

fn commands(world: &World, fleet: &Fleet) -> String {
    let stack = &world.stack;
    let kubectl = format!("kubectl --kubeconfig {}", stack.kubeconfig().display());
    let mut lines = vec!["Try, in another terminal:".to_owned(), String::new()];
    let rows = fleet.rows();
    let mut with_role = rows.iter().filter(|row| !row.role.is_empty() && !row.address.is_empty());
    let example = with_role.clone().find(|row| row.pod == EXAMPLE).or_else(|| with_role.next());
    if let Some(row) = example {
        let agent = stack.nodes.iter().find(|node| node.name == row.node).map(|node| node.agent.addresses().main);
        if let (Some(agent), Some(relay)) = (agent, fleet.relay_of(&row.pod)) {
            let metadata = format!("http://{agent}/latest/meta-data");
            let (pod, address) = (&row.pod, &row.address);
            lines.extend([
                format!("  # as the pod {pod}"),
                format!("  curl -s --interface {address} {metadata}/iam/security-credentials/; echo"),
                format!("  curl -s --interface {address} {metadata}/instance-id; echo"),
                "  # the AWS CLI in that pod, by a relay that stands for its network".into(),
                format!(
                    "  env -i PATH=\"$PATH\" AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{relay} \
                     AWS_ENDPOINT_URL_STS={} AWS_DEFAULT_REGION={REGION} aws sts get-caller-identity",
                    stack.sts.url()
                ),
            ]);
        }
        let (namespace, name) = row.pod.split_once('/').unwrap_or_default();
        lines.extend([
            "  # change, remove and add pods".into(),
            format!("  {kubectl} annotate pod -n {namespace} {name} --overwrite iam.amazonaws.com/role=orders"),
            format!("  {kubectl} delete pod -n {namespace} {name}"),
        ]);
    }
    lines.extend([
        format!("  {kubectl} run mine --image=any --annotations=iam.amazonaws.com/role=orders -n shop"),
        format!("  {kubectl} get pods,events -A"),
    ]);
    lines.join("\n") + "\n"
}
