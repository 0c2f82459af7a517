//! `deploy/kustomize/base/rbac.yaml` gives the server what it needs and nothing more.

use crate::shared;

#[tokio::test]
async fn the_server_may_do_what_it_needs_and_nothing_else() {
    let kubernetes = shared::kubernetes().await;
    let may = |verb: &str, resource: &str| kubernetes.server_may(verb, resource);
    for resource in ["pods", "namespaces"] {
        for verb in ["list", "watch"] {
            assert!(may(verb, resource), "{verb} {resource}");
        }
        for verb in ["get", "create", "patch", "delete"] {
            assert!(!may(verb, resource), "{verb} {resource}");
        }
    }
    for verb in ["get", "patch"] {
        assert!(!may(verb, "nodes"), "{verb} nodes");
    }
    assert!(may("create", "events") && may("patch", "events"));
    for review in ["tokenreviews.authentication.k8s.io", "subjectaccessreviews.authorization.k8s.io"] {
        assert!(may("create", review) && !may("list", review), "{review}");
    }
    for resource in ["events", "secrets", "configmaps", "serviceaccounts", "nodes"] {
        assert!(!may("list", resource), "list {resource}");
    }
}
