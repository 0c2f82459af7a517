//! TokenReview and SubjectAccessReview: who a bearer token stands for, and what somebody may do.

use std::collections::HashMap;

use serde_json::{Value, json};

/// Whom a token stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenUser {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// The user's uid.
    pub uid: String,
    /// The user's groups.
    pub groups: Vec<String>,
    /// What else is known, such as `authentication.kubernetes.io/node-name`.
    pub extra: Vec<(String, String)>,
    /// Whom the token was made for.
    pub audiences: Vec<String>,
}

/// Something that is allowed. An empty text stands for anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRule {
    /// The user's name.
    pub user: String,
    /// `get`, `list`, `create`, …
    pub verb: String,
    /// `pods`, …
    pub resource: String,
    /// The namespace.
    pub namespace: String,
}

#[derive(Debug, Default)]
pub(super) struct Reviews {
    tokens: HashMap<String, TokenUser>,
    /// None: everything is allowed.
    rules: Option<Vec<AccessRule>>,
}

impl Reviews {
    pub(super) fn set_token(&mut self, token: &str, user: Option<TokenUser>) {
        match user {
            Some(user) => self.tokens.insert(token.into(), user),
            None => self.tokens.remove(token),
        };
    }

    pub(super) fn set_rules(&mut self, rules: Vec<AccessRule>) {
        self.rules = Some(rules);
    }

    /// Answers a review; none for a resource that is not a review.
    pub(super) fn answer(&self, group: &str, resource: &str, mut review: Value) -> Option<Value> {
        let status = match (group, resource) {
            ("authentication.k8s.io", "tokenreviews") => self.token(&review["spec"]),
            ("authorization.k8s.io", "subjectaccessreviews") => self.access(&review["spec"]),
            // Whoever asks about themselves is whoever can reach a loopback port: they may do everything.
            ("authorization.k8s.io", "selfsubjectaccessreviews") => json!({"allowed": true}),
            _ => return None,
        };
        review["status"] = status;
        Some(review)
    }

    fn token(&self, spec: &Value) -> Value {
        let Some(user) = spec["token"].as_str().and_then(|token| self.tokens.get(token)) else {
            return json!({"authenticated": false, "error": "invalid bearer token"});
        };
        let wanted: Vec<&str> = spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let shared: Vec<&String> =
            user.audiences.iter().filter(|audience| wanted.is_empty() || wanted.contains(&audience.as_str())).collect();
        if shared.is_empty() && !wanted.is_empty() {
            let error = format!("token audiences {:?} is invalid for the target audiences {wanted:?}", user.audiences);
            return json!({"authenticated": false, "error": error});
        }
        let extra: HashMap<&String, [&String; 1]> = user.extra.iter().map(|(key, value)| (key, [value])).collect();
        json!({
            "authenticated": true,
            "user": {"username": user.username, "uid": user.uid, "groups": user.groups, "extra": extra},
            "audiences": shared,
        })
    }

    fn access(&self, spec: &Value) -> Value {
        let Some(rules) = &self.rules else { return json!({"allowed": true}) };
        let attributes = &spec["resourceAttributes"];
        let fits = |rule: &str, value: &Value| rule.is_empty() || value == rule;
        let allowed = rules.iter().any(|rule| {
            fits(&rule.user, &spec["user"])
                && fits(&rule.verb, &attributes["verb"])
                && fits(&rule.resource, &attributes["resource"])
                && fits(&rule.namespace, &attributes["namespace"])
        });
        json!({"allowed": allowed})
    }
}
