//! Field and label selectors.

use serde_json::Value;

use super::failure::Failure;

/// Which objects a list or watch is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    fields: Vec<Requirement>,
    labels: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

impl Selector {
    pub(super) fn parse(fields: &str, labels: &str) -> Result<Self, Failure> {
        Ok(Self { fields: requirements(fields)?, labels: requirements(labels)? })
    }

    pub(super) fn is_everything(&self) -> bool {
        self.fields.is_empty() && self.labels.is_empty()
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let field = |key: &str| {
            let found = object.pointer(&format!("/{}", key.replace('.', "/")));
            // An absent field selects as the empty text.
            Some(found.and_then(Value::as_str).unwrap_or_default())
        };
        let label = |key: &str| object["metadata"]["labels"].get(key).and_then(Value::as_str);
        self.fields.iter().all(|requirement| requirement.holds(field(&requirement.key)))
            && self.labels.iter().all(|requirement| requirement.holds(label(&requirement.key)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        match &self.rule {
            Rule::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Rule::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            Rule::Exists => value.is_some(),
            Rule::Missing => value.is_none(),
        }
    }
}

/// `a=b,c!=d,e in (f,g),h notin (i),j,!k`
fn requirements(text: &str) -> Result<Vec<Requirement>, Failure> {
    split_outside_parentheses(text).into_iter().filter(|part| !part.is_empty()).map(requirement).collect()
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .collect()
}

fn requirement(part: &str) -> Result<Requirement, Failure> {
    let of = |key: &str, rule| Ok(Requirement { key: key.trim().into(), rule });
    if let Some((key, set)) = part.split_once(" notin ") {
        return of(key, Rule::NotIn(members(set, part)?));
    }
    if let Some((key, set)) = part.split_once(" in ") {
        return of(key, Rule::In(members(set, part)?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return of(key, Rule::NotIn(vec![value.trim().into()]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return of(key, Rule::In(vec![value.trim().into()]));
    }
    match part.strip_prefix('!') {
        Some(key) => of(key, Rule::Missing),
        None => of(part, Rule::Exists),
    }
}

fn members(set: &str, part: &str) -> Result<Vec<String>, Failure> {
    let inside = set.trim().strip_prefix('(').and_then(|set| set.strip_suffix(')'));
    let inside = inside.ok_or_else(|| Failure::BadRequest(format!("unable to parse requirement: {part:?}")))?;
    Ok(inside.split(',').map(|member| member.trim().into()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(fields: &str, labels: &str) -> bool {
        let pod = json!({
            "metadata": {"name": "reader", "labels": {"app": "shop", "tier": "front"}},
            "spec": {"nodeName": "node-a"},
        });
        Selector::parse(fields, labels).unwrap().matches(&pod)
    }

    #[test]
    fn fields_are_compared_and_an_absent_one_is_empty() {
        assert!(selects("metadata.name=reader,spec.nodeName==node-a", ""));
        assert!(!selects("spec.nodeName!=node-a", ""));
        assert!(selects("status.phase=", "") && selects("status.phase!=Failed", ""));
    }

    #[test]
    fn labels_are_compared_by_value_set_and_presence() {
        assert!(selects("", "app=shop,tier in (front, back),!canary"));
        assert!(selects("", "app,owner!=me,tier notin (back)"));
        assert!(!selects("", "app in (other)") && !selects("", "owner") && !selects("", "!app"));
    }

    #[test]
    fn a_set_without_parentheses_is_refused() {
        assert!(Selector::parse("", "app in shop").is_err());
    }
}
