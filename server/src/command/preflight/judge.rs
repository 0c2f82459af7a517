//! What will be different for the pods and namespaces of a cluster, and what is worth knowing.

use std::collections::{BTreeMap, HashMap};

use kiam_common::role::SessionName;
use serde::Serialize;

use super::kiam;
use crate::directory::namespaces::NamespaceFields;
use crate::directory::pods::{Owner, PodFields, PodIndex};
use crate::directory::watch::list::Listed;
use crate::policy::Decision;
use crate::policy::namespace::{NamespacePolicy, NamespaceRule};
use crate::role::PodRole;
use crate::role::resolver::{BaseArn, Resolver};

/// How Kiam is set up.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// `--role-base-arn`
    pub(super) base: BaseArn,
    /// Without `--disable-strict-namespace-regexp`.
    pub(super) anchored: bool,
}

/// Something about some objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    /// Whether they behave differently; if not, it is only worth knowing.
    pub(super) changes: bool,
    /// `pod team/reader`, `namespace team`
    pub(super) objects: Vec<String>,
    pub(super) found: String,
    pub(super) advice: String,
}

/// What it is about, in the order in which findings are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Kiam gives the role, by the hole in its anchors.
    LosesRole,
    /// The hole, whether or not a pod uses it now.
    TornExpression,
    /// It cannot be understood here.
    InvalidExpression,
    /// Neither gives the role.
    Denied,
    /// The annotations name no role that STS would know.
    InvalidAnnotation,
    /// Several live pods have the address.
    SharedAddress,
    /// The pod asks for a role, and has the node's address.
    HostNetwork,
    /// The namespace is annotated for kube2iam.
    Kube2iam,
    /// An object that cannot be read.
    Unreadable,
    /// How long credentials live.
    Sessions,
}

impl Kind {
    const fn changes(self) -> bool {
        matches!(self, Self::LosesRole | Self::TornExpression | Self::InvalidExpression)
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::LosesRole => "name the role in the namespace's expression, or give the pod one that is named",
            Self::TornExpression => {
                "Kiam anchors only the first and the last alternative; put (...) around all of them"
            }
            Self::InvalidExpression => "correct the expression: here it permits nothing, whatever Kiam reads in it",
            Self::Denied => "nothing changes: Kiam gives none either",
            Self::InvalidAnnotation => "correct the annotation; Kiam asks STS and fails, here the pod is told why",
            Self::SharedAddress => "nothing changes: neither guesses; one of the pods must go",
            Self::HostNetwork => "give it a network of its own, or let it use the node's role",
            Self::Kube2iam => {
                "--namespace-policy=kube2iam reads this annotation, in place of iam.amazonaws.com/permitted"
            }
            Self::Unreadable => "it is skipped, and counted in kiam_k8s_undecodable_objects_total",
            Self::Sessions => {
                "--session-duration=15m --session-refresh=5m is Kiam's way, where something depends on it"
            }
        }
    }
}

/// Objects by what was found of them.
#[derive(Default)]
struct Findings(BTreeMap<(Kind, String), Vec<String>>);

impl Findings {
    fn add(&mut self, kind: Kind, object: String, found: impl Into<String>) {
        self.0.entry((kind, found.into())).or_default().push(object);
    }

    fn into_vec(self) -> Vec<Finding> {
        let finding = |((kind, found), objects): ((Kind, String), Vec<String>)| Finding {
            kind,
            changes: kind.changes(),
            objects,
            found,
            advice: kind.advice().into(),
        };
        self.0.into_iter().map(finding).collect()
    }
}

/// A namespace's own text, and what it comes to here.
struct Namespace<'a> {
    expression: &'a str,
    rule: NamespaceRule,
}

/// Looks at every object.
pub(super) fn judge(listed: &Listed, settings: Settings) -> Vec<Finding> {
    let mut findings = Findings::default();
    let policy = NamespacePolicy::Permitted { anchored: settings.anchored };
    let mut namespaces = HashMap::new();
    for fields in &listed.namespaces {
        let expression = fields.annotations.permitted.as_deref().unwrap_or_default();
        let namespace = Namespace { expression, rule: policy.compile(&fields.annotations) };
        of_namespace(fields, &namespace, settings.anchored, &mut findings);
        namespaces.insert(&*fields.name, namespace);
    }
    let resolver = Resolver::new(settings.base, SessionName::from_text("kiam"));
    let mut index = PodIndex::default();
    for pod in &listed.pods {
        index.apply(pod, &resolver);
    }
    let live = || listed.pods.iter().filter(|pod| !pod.finished && pod.annotations.role.is_some());
    for pod in live() {
        of_pod(pod, &resolver, namespaces.get(&*pod.namespace), settings.anchored, &mut findings);
        of_addresses(pod, &index, &mut findings);
    }
    for skipped in &listed.skipped {
        findings.add(Kind::Unreadable, "object".into(), skipped.clone());
    }
    if live().next().is_some() {
        let found = "sessions last 60 minutes and are renewed after 30; Kiam's last 15 and are renewed after 10";
        findings.add(Kind::Sessions, "every pod".into(), found);
    }
    findings.into_vec()
}

fn of_namespace(fields: &NamespaceFields, namespace: &Namespace<'_>, anchored: bool, findings: &mut Findings) {
    let object = || format!("namespace {}", fields.name);
    let Namespace { expression, rule } = namespace;
    if let Some(why) = rule.unusable() {
        findings.add(Kind::InvalidExpression, object(), format!("{rule}: {why}"));
    } else if anchored && kiam::is_torn(expression) {
        findings.add(Kind::TornExpression, object(), format!("{rule} is several expressions, and not one group"));
    }
    if expression.is_empty() && fields.annotations.allowed_roles.is_some() {
        findings.add(Kind::Kube2iam, object(), "it permits roles by kube2iam's annotation only");
    }
}

fn of_pod(
    pod: &PodFields,
    resolver: &Resolver,
    namespace: Option<&Namespace<'_>>,
    anchored: bool,
    findings: &mut Findings,
) {
    if pod.host_network {
        findings.add(Kind::HostNetwork, object(pod), "it is on the host's network, and has no identity of its own");
        return;
    }
    let role = match resolver.pod_role(&pod.annotations) {
        PodRole::Absent => return,
        PodRole::Invalid(error) => {
            findings.add(Kind::InvalidAnnotation, object(pod), error.to_string());
            return;
        }
        PodRole::Annotated(role) => role,
    };
    let Some(Namespace { expression, rule }) = namespace else { return };
    let Decision::Denied(denial) = rule.decide(role.arn()) else { return };
    let kind = if kiam::permits(expression, anchored, role.arn()) { Kind::LosesRole } else { Kind::Denied };
    findings.add(kind, object(pod), denial.to_string());
}

fn of_addresses(pod: &PodFields, index: &PodIndex, findings: &mut Findings) {
    for ip in &pod.ips {
        if let (false, Owner::Ambiguous(pods)) = (pod.host_network, index.owner_of(*ip)) {
            let found = format!("more than one live pod has {ip}: {}", pods.join(", "));
            findings.add(Kind::SharedAddress, object(pod), found);
            return;
        }
    }
}

fn object(pod: &PodFields) -> String {
    format!("pod {}/{}", pod.namespace, pod.name)
}
