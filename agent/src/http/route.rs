//! What a canonical path asks for. Pure; called by `http/mod.rs` with what `guard.rs` let through.
//!
//! What must always hold: no path with a segment `iam` or `identity-credentials`, in any spelling of case, is ever
//! [`Route::Other`] or [`Route::UserData`], the only ones that may be proxied; none with `user-data` is `Other`.

use http::Method;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    /// `GET /ping`.
    Ping,
    /// `GET /health`.
    Health,
    /// `PUT /latest/api/token`.
    Token,
    /// `PUT /2021-03-23/api/token`, which the real service forbids.
    VersionedToken,
    /// A credentials list without its slash.
    ListWithoutSlash,
    /// The name of the pod's role.
    RoleName,
    /// The credentials of a role.
    Credentials {
        /// Decoded, without the slash that may end the path.
        role: &'p str,
        /// Whether the document names the account too.
        extended: bool,
    },
    /// Under `iam/` or `identity-credentials/` and not one of the above: the node's own, never a pod's.
    NodeIdentity,
    /// With a segment `user-data`: proxied only if the operator names it.
    UserData,
    /// All else: proxied if the operator allows it.
    Other,
    /// A method that this path does not take; `allow` are those that it does.
    MethodNotAllowed {
        /// The value of the `Allow` header.
        allow: &'static str,
    },
}

const READ: &str = "GET, HEAD";

/// Finds the route of a canonical path.
pub(crate) fn find<'p>(method: &Method, path: &'p str) -> Route<'p> {
    match token_version(path) {
        Some("latest") if *method == Method::PUT => return Route::Token,
        Some(_) if *method == Method::PUT => return Route::VersionedToken,
        Some(_) => return Route::MethodNotAllowed { allow: "PUT" },
        None => {}
    }
    if *method != Method::GET && *method != Method::HEAD {
        return Route::MethodNotAllowed { allow: READ };
    }
    match path {
        "/ping" => Route::Ping,
        "/health" => Route::Health,
        _ => identity(path),
    }
}

/// The version in `/{version}/api/token`.
fn token_version(path: &str) -> Option<&str> {
    let version = path.strip_prefix('/')?.strip_suffix("/api/token")?;
    (!version.contains('/')).then_some(version)
}

fn identity(path: &str) -> Route<'_> {
    if let Some((list, role)) = split_role(path) {
        let role = role.strip_suffix('/').unwrap_or(role);
        return match role {
            "" => Route::RoleName,
            role => Route::Credentials { role, extended: list == List::Extended },
        };
    }
    if list_of(path).is_some_and(|(_, rest)| rest.is_empty()) {
        return Route::ListWithoutSlash;
    }
    let has = |name: &str| path.split('/').any(|segment| segment.eq_ignore_ascii_case(name));
    if has("iam") || has("identity-credentials") {
        Route::NodeIdentity
    } else if has("user-data") {
        Route::UserData
    } else {
        Route::Other
    }
}

/// The two lists of credentials that the instance metadata service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// `security-credentials`.
    Plain,
    /// `security-credentials-extended`, which newer SDKs try first: it names the account too.
    Extended,
}

/// Splits a path below one of the lists into the list and what follows its slash.
pub(crate) fn split_role(path: &str) -> Option<(List, &str)> {
    let (list, rest) = list_of(path)?;
    Some((list, rest.strip_prefix('/')?))
}

fn list_of(path: &str) -> Option<(List, &str)> {
    let (version, rest) = path.strip_prefix('/')?.split_once('/')?;
    if matches!(version, "" | "." | "..") {
        return None;
    }
    let rest = rest.strip_prefix("meta-data/iam/security-credentials")?;
    let (list, rest) = rest.strip_prefix("-extended").map_or((List::Plain, rest), |rest| (List::Extended, rest));
    (rest.is_empty() || rest.starts_with('/')).then_some((list, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Route<'_> {
        find(&Method::GET, path)
    }

    #[test]
    fn every_version_has_the_credential_routes() {
        for version in ["latest", "1.0", "2021-03-23"] {
            let list = format!("/{version}/meta-data/iam/security-credentials");
            assert_eq!(get(&list), Route::ListWithoutSlash);
            assert_eq!(get(&format!("{list}/")), Route::RoleName);
            assert_eq!(get(&format!("{list}/reader")), Route::Credentials { role: "reader", extended: false });
            assert_eq!(get(&format!("{list}/reader/")), Route::Credentials { role: "reader", extended: false });
            assert_eq!(get(&format!("{list}-extended")), Route::ListWithoutSlash);
            assert_eq!(get(&format!("{list}-extended/")), Route::RoleName);
            assert_eq!(get(&format!("{list}-extended/a/b")), Route::Credentials { role: "a/b", extended: true });
        }
    }

    #[test]
    fn a_role_keeps_the_slash_it_begins_with() {
        let path = "/latest/meta-data/iam/security-credentials//team/reader";
        assert_eq!(get(path), Route::Credentials { role: "/team/reader", extended: false });
    }

    #[test]
    fn the_nodes_own_identity_is_no_pods_business() {
        for path in [
            "/latest/meta-data/iam",
            "/latest/meta-data/iam/",
            "/latest/meta-data/iam/info",
            "/latest/meta-data/IAM/info",
            "/latest/meta-data/iam/security-credentialsx",
            "/latest/meta-data/iam/security-credentials-extendedx/role",
            "/latest/meta-data/iam/Security-Credentials/role",
            "/latest/meta-data/identity-credentials",
            "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
            "/latest/meta-data/Identity-Credentials/ec2/info",
            "/a/b/c/iam/d",
            "/iam",
        ] {
            assert_eq!(get(path), Route::NodeIdentity, "{path}");
        }
    }

    #[test]
    fn user_data_is_known_however_it_is_spelt() {
        for path in ["/latest/user-data", "/1.0/user-data/", "/latest/USER-data", "/a/b/user-data/c"] {
            assert_eq!(get(path), Route::UserData, "{path}");
        }
        assert_eq!(get("/latest/user-data/iam"), Route::NodeIdentity);
    }

    #[test]
    fn all_else_is_left_to_the_operator() {
        for path in ["/", "/latest", "/latest/meta-data/", "/latest/meta-data/iamx", "/latest/user-datax", "/ping/"] {
            assert_eq!(get(path), Route::Other, "{path}");
        }
    }

    #[test]
    fn tokens_are_put_to_the_latest_version_only() {
        assert_eq!(find(&Method::PUT, "/latest/api/token"), Route::Token);
        assert_eq!(find(&Method::PUT, "/2021-03-23/api/token"), Route::VersionedToken);
        assert_eq!(get("/latest/api/token"), Route::MethodNotAllowed { allow: "PUT" });
        assert_eq!(find(&Method::POST, "/latest/api/token"), Route::MethodNotAllowed { allow: "PUT" });
        assert_eq!(get("/latest/api/token/"), Route::Other);
    }

    #[test]
    fn everything_else_is_only_read() {
        for method in [Method::PUT, Method::POST, Method::DELETE, Method::OPTIONS, Method::PATCH, Method::TRACE] {
            for path in ["/ping", "/latest/meta-data/", "/latest/meta-data/iam/security-credentials/"] {
                assert_eq!(find(&method, path), Route::MethodNotAllowed { allow: READ }, "{method} {path}");
            }
        }
        assert_eq!(find(&Method::HEAD, "/ping"), Route::Ping);
    }
}
