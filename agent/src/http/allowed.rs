//! Which paths of the instance metadata service pods may read: `--allow-routes`, `--allow-route-regexp` and
//! `--allow-user-data`. Pure; asked by `proxy.rs` with canonical paths.
//!
//! What must always hold: nothing here opens `iam/` or `identity-credentials/`, which `route.rs` never lets come this
//! far, and nothing but `--allow-user-data` opens user data.

use clap::ValueEnum;
use regex::Regex;

/// The paths that pods may read: those of the presets and those that the expression matches, and user data if it is
/// named.
#[derive(Clone, Debug)]
pub struct AllowedRoutes {
    /// `--allow-routes`
    pub presets: Vec<Preset>,
    /// `--allow-route-regexp`
    pub expression: RouteExpression,
    /// `--allow-user-data`
    pub user_data: bool,
}

impl AllowedRoutes {
    /// Whether pods may read a path that is not user data.
    pub(crate) fn contain(&self, path: &str) -> bool {
        self.presets.iter().any(|preset| preset.contains(path)) || self.expression.0.is_match(path)
    }

    /// Whether pods may read a path that has user data's name in it.
    pub(crate) fn contain_user_data(&self, path: &str) -> bool {
        self.user_data && versioned(path) == Some("user-data")
    }
}

/// An expression over whole canonical paths, the slash in front included.
#[derive(Clone, Debug)]
pub struct RouteExpression(Regex);

impl RouteExpression {
    /// Compiles it. An error is one line.
    pub fn parse(expression: &str) -> Result<Self, String> {
        let anchored = format!("^(?:{expression})$");
        // By itself first: an expression may not break out of the group that anchors it.
        let compiled = Regex::new(expression).and_then(|_| Regex::new(&anchored));
        compiled.map(Self).map_err(|error| {
            let told = error.to_string();
            let why = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("expected a regular expression: {why}")
        })
    }
}

/// A set of paths that pods are often allowed to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// What the instance is: its id, type, life cycle and image
    Instance,
    /// Where it is: region, availability zone, placement group
    Placement,
    /// Its addresses, names and interfaces
    Network,
    /// That it is about to be interrupted, and recommended to be replaced
    Spot,
    /// Scheduled maintenance, and what the autoscaling group intends
    Events,
    /// Its tags, where it shows them
    Tags,
    /// The domain and partition of AWS's services
    Services,
    /// The identity document, without its signatures
    InstanceIdentity,
}

impl Preset {
    /// Each stands for itself and for all that is below it, under every version.
    const fn items(self) -> &'static [&'static str] {
        match self {
            Self::Instance => &[
                "meta-data/instance-id",
                "meta-data/instance-type",
                "meta-data/instance-life-cycle",
                "meta-data/ami-id",
                "meta-data/ami-launch-index",
                "meta-data/reservation-id",
            ],
            Self::Placement => &["meta-data/placement"],
            Self::Network => &[
                "meta-data/hostname",
                "meta-data/ipv6",
                "meta-data/local-hostname",
                "meta-data/local-ipv4",
                "meta-data/mac",
                "meta-data/network",
                "meta-data/public-hostname",
                "meta-data/public-ipv4",
                "meta-data/security-groups",
            ],
            Self::Spot => &["meta-data/spot", "meta-data/events/recommendations"],
            Self::Events => &["meta-data/events", "meta-data/autoscaling"],
            Self::Tags => &["meta-data/tags"],
            Self::Services => &["meta-data/services"],
            // Whoever has a signature can show the document elsewhere as the node.
            Self::InstanceIdentity => &["dynamic/instance-identity/document"],
        }
    }

    fn contains(self, path: &str) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        versioned(path).is_some_and(|asked| self.items().iter().any(|item| asked.strip_prefix(item).is_some_and(below)))
    }
}

/// What is asked for under a version: `latest`, `1.0` or a date. A slash may end it.
fn versioned(path: &str) -> Option<&str> {
    let (version, item) = path.strip_prefix('/')?.split_once('/')?;
    let is_version = version == "latest" || version.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    is_version.then(|| item.strip_suffix('/').unwrap_or(item))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(expression: &str, path: &str) -> bool {
        let expression = RouteExpression::parse(expression).unwrap();
        AllowedRoutes { presets: Vec::new(), expression, user_data: false }.contain(path)
    }

    #[test]
    fn the_default_allows_nothing() {
        for path in ["/", "/latest/meta-data/", "/latest/meta-data/instance-id"] {
            assert!(!allows("^$", path), "{path}");
        }
    }

    #[test]
    fn the_whole_path_must_match() {
        assert!(allows("/latest/meta-data/placement/.*", "/latest/meta-data/placement/region"));
        assert!(allows("^/latest/meta-data/placement/.*$", "/latest/meta-data/placement/region"));
        assert!(!allows("placement", "/latest/meta-data/placement/region"));
        assert!(!allows("/latest/meta-data/placement", "/latest/meta-data/placement/region"));
        assert!(!allows("/a|/b", "/bc"));
        assert!(allows("/a|/b", "/b"));
    }

    #[test]
    fn an_expression_cannot_break_out_of_its_anchors() {
        assert!(RouteExpression::parse("/a)|(?:/b").is_err());
        assert!(RouteExpression::parse("(").is_err());
    }

    #[test]
    fn a_preset_is_its_own_paths_under_every_version() {
        for (preset, item) in [
            (Preset::Instance, "meta-data/instance-id"),
            (Preset::Instance, "meta-data/instance-type/"),
            (Preset::Placement, "meta-data/placement/availability-zone"),
            (Preset::Placement, "meta-data/placement/"),
            (Preset::Network, "meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/subnet-id"),
            (Preset::Spot, "meta-data/spot/instance-action"),
            (Preset::Spot, "meta-data/events/recommendations/rebalance"),
            (Preset::Events, "meta-data/events/maintenance/scheduled"),
            (Preset::Events, "meta-data/autoscaling/target-lifecycle-state"),
            (Preset::Tags, "meta-data/tags/instance/Name"),
            (Preset::Services, "meta-data/services/partition"),
            (Preset::InstanceIdentity, "dynamic/instance-identity/document"),
        ] {
            for version in ["latest", "1.0", "2021-03-23"] {
                assert!(preset.contains(&format!("/{version}/{item}")), "{preset:?} {version} {item}");
            }
            for path in [format!("/{item}"), format!("/LATEST/{item}"), format!("/latest/x/{item}"), "/".into()] {
                assert!(!preset.contains(&path), "{preset:?} {path}");
            }
        }
    }

    #[test]
    fn no_preset_has_what_is_the_nodes_own() {
        for preset in Preset::value_variants() {
            for item in [
                "",
                "meta-data",
                "meta-data/",
                "meta-data/iam/info",
                "meta-data/identity-credentials/ec2/info",
                "meta-data/placementx",
                "meta-data/tagsx/instance",
                "user-data",
                "dynamic/instance-identity/pkcs7",
                "dynamic/instance-identity/documentx",
                "dynamic/instance-identity/",
            ] {
                assert!(!preset.contains(&format!("/latest/{item}")), "{preset:?} {item}");
            }
        }
    }

    #[test]
    fn user_data_has_a_flag_of_its_own() {
        let expression = RouteExpression::parse(".*").unwrap();
        let everything_else =
            AllowedRoutes { presets: Preset::value_variants().to_vec(), expression, user_data: false };
        assert!(!everything_else.contain_user_data("/latest/user-data"));
        let named = AllowedRoutes { user_data: true, ..everything_else };
        for (path, allowed) in [
            ("/latest/user-data", true),
            ("/2021-03-23/user-data/", true),
            ("/latest/user-data/x", false),
            ("/latest/meta-data/user-data", false),
            ("/user-data", false),
        ] {
            assert_eq!(named.contain_user_data(path), allowed, "{path}");
        }
    }
}
