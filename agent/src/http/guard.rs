//! The one canonical parser of metadata requests: `http/mod.rs` passes every request through it before any route
//! is looked at, and nothing later reads the raw request target again.
//!
//! What must always hold: a path is decoded exactly once, and what comes out means the same to every reader —
//! plain ASCII, one slash between segments, no dots to resolve, nothing left to decode. So what the routes judge
//! is what the instance metadata service would understand.

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, Method, Version, header};

use super::route;

/// Why a request is refused before any route: its shape, not what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// `GET http://host/path`, `CONNECT host:port` or `OPTIONS *`.
    #[error("the request target must be a path")]
    Target,
    /// A `%` without two hexadecimal digits, or one that is left after decoding.
    #[error("the path must be percent-encoded once, correctly")]
    Encoding,
    /// Control characters, spaces, bytes beyond ASCII, `\`, `;`, `?` or `#`.
    #[error("the path has a character that no metadata path has")]
    Character,
    /// `//`, `.` or `..`.
    #[error("the path has an empty or a dot segment")]
    Segment,
    /// No `Host`, several, or one that is no host.
    #[error("a request must have exactly one Host header, a host with an optional port")]
    Host,
    /// No metadata request has a body.
    #[error("a metadata request must not have a body")]
    Body,
}

/// A request target that means one thing only.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'r> {
    /// Decoded, ASCII, beginning with `/`.
    pub(crate) path: Cow<'r, str>,
    /// As it was sent, without the `?`.
    pub(crate) query: Option<&'r str>,
}

impl Target<'_> {
    /// The value of the first `name=value` of the query; values are taken as they stand.
    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        self.query?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Judges the shape of a request and gives its target in canonical form.
pub(crate) fn check(request: &Parts) -> Result<Target<'_>, Malformed> {
    let uri = &request.uri;
    if uri.scheme().is_some() || uri.authority().is_some() || request.method == Method::CONNECT {
        return Err(Malformed::Target);
    }
    if !uri.path().starts_with('/') {
        return Err(Malformed::Target);
    }
    check_host(&request.headers, request.version)?;
    check_no_body(&request.headers)?;
    let path = decode(uri.path())?;
    check_path(&path)?;
    Ok(Target { path, query: uri.query() })
}

fn check_host(headers: &HeaderMap, version: Version) -> Result<(), Malformed> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_10 => Ok(()),
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        _ => Err(Malformed::Host),
    }
}

fn is_host(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
        && http::uri::Authority::try_from(text).is_ok()
}

/// With a `Transfer-Encoding` or a `Content-Length` above zero comes a body, or the start of a smuggled request.
fn check_no_body(headers: &HeaderMap) -> Result<(), Malformed> {
    let has_length = headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length != "0");
    if has_length || headers.contains_key(header::TRANSFER_ENCODING) { Err(Malformed::Body) } else { Ok(()) }
}

/// Undoes percent-encoding, once. A path without any is borrowed.
fn decode(path: &str) -> Result<Cow<'_, str>, Malformed> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut decoded = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' { hex_pair(bytes.next(), bytes.next())? } else { byte };
        // Everything else is refused below as well; here it keeps the text valid UTF-8.
        if !byte.is_ascii() {
            return Err(Malformed::Character);
        }
        decoded.push(char::from(byte));
    }
    Ok(Cow::Owned(decoded))
}

fn hex_pair(high: Option<u8>, low: Option<u8>) -> Result<u8, Malformed> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
        return Err(Malformed::Encoding);
    };
    u8::try_from(high * 16 + low).map_err(|_| Malformed::Encoding)
}

/// The rules for the decoded path. A role's part may begin with one more slash: for the annotation `/path/name`
/// SDKs ask for `…/security-credentials//path/name`.
fn check_path(path: &str) -> Result<(), Malformed> {
    if path.contains('%') {
        return Err(Malformed::Encoding);
    }
    if !path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b';' | b'?' | b'#')) {
        return Err(Malformed::Character);
    }
    let rest = match route::split_role(path) {
        Some((_, role)) => role.strip_prefix('/').unwrap_or(role),
        None => path.strip_prefix('/').unwrap_or(path),
    };
    // A path may end in a slash; no other segment may be empty, nor the one before that slash.
    let rest = rest.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(rest);
    if rest.is_empty() || rest.split('/').all(|segment| !matches!(segment, "" | "." | "..")) {
        Ok(())
    } else {
        Err(Malformed::Segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(target: &str) -> Parts {
        http::Request::get(target).header("host", "169.254.169.254").body(()).unwrap().into_parts().0
    }

    fn path(target: &str) -> Result<String, Malformed> {
        check(&parts(target)).map(|target| target.path.into_owned())
    }

    #[test]
    fn plain_paths_pass_unchanged_and_uncopied() {
        for target in ["/", "/ping", "/latest/meta-data/", "/latest/meta-data/tags/instance/a+b=c,d.e_f:g@h", "/a~b"] {
            let parts = parts(target);
            assert_eq!(check(&parts).unwrap().path, Cow::Borrowed(target), "{target}");
        }
    }

    #[test]
    fn percent_encoding_is_undone_once() {
        assert_eq!(path("/lat%65st/meta%2Ddata/x").unwrap(), "/latest/meta-data/x");
        assert_eq!(path("/latest/meta-data%2fiam/info").unwrap(), "/latest/meta-data/iam/info");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (target, why) in [
            ("/a/%2525", Malformed::Encoding),
            ("/a/%252e%252e/b", Malformed::Encoding),
            ("/a%2", Malformed::Encoding),
            ("/a%", Malformed::Encoding),
            ("/a%zz", Malformed::Encoding),
            ("/a%+1", Malformed::Encoding),
            ("/a%5cb", Malformed::Character),
            ("/a;b", Malformed::Character),
            ("/a%3bb", Malformed::Character),
            ("/a%3fb", Malformed::Character),
            ("/a%23b", Malformed::Character),
            ("/a%20b", Malformed::Character),
            ("/a%0ab", Malformed::Character),
            ("/a%0d%0aHost:b", Malformed::Character),
            ("/a%00", Malformed::Character),
            ("/a%7f", Malformed::Character),
            ("/a%c3%a4", Malformed::Character),
            ("/a%ff", Malformed::Character),
            ("/a/../b", Malformed::Segment),
            ("/a/./b", Malformed::Segment),
            ("/a/%2e%2e/b", Malformed::Segment),
            ("/a/..", Malformed::Segment),
            ("/a/%2e%2e%2fb", Malformed::Segment),
            ("/..", Malformed::Segment),
            ("//", Malformed::Segment),
            ("/%2f", Malformed::Segment),
            ("//a", Malformed::Segment),
            ("/a//b", Malformed::Segment),
            ("/a/%2fb", Malformed::Segment),
            ("/a//", Malformed::Segment),
            ("/latest/meta-data/iam/security-credentials///", Malformed::Segment),
            ("/latest/meta-data/iam/security-credentials///role", Malformed::Segment),
            ("/latest/meta-data/iam/security-credentials/a//role", Malformed::Segment),
            ("/latest/meta-data/iam/security-credentials/../info", Malformed::Segment),
            ("/latest/meta-data/iam/security-credentials/%2e%2e/info", Malformed::Segment),
            ("//meta-data/iam/security-credentials/role", Malformed::Segment),
            ("/../meta-data/iam/security-credentials/role", Malformed::Segment),
            ("/latest/meta-data/iam//security-credentials/role", Malformed::Segment),
            ("/latest/meta-data/iam/security-credentials/role%0a", Malformed::Character),
            ("/latest/meta-data/iam/security-credentials/role%5c", Malformed::Character),
        ] {
            assert_eq!(path(target), Err(why), "{target}");
        }
    }

    #[test]
    fn raw_backslashes_and_bytes_beyond_ascii_are_refused() {
        for target in ["/latest\\meta-data", "/r\u{f6}le"] {
            if let Ok(uri) = target.parse::<http::Uri>() {
                let mut parts = parts("/");
                parts.uri = uri;
                assert_eq!(check(&parts), Err(Malformed::Character), "{target}");
            }
        }
    }

    #[test]
    fn a_role_may_be_encoded_hold_slashes_and_begin_or_end_with_one() {
        let base = "/latest/meta-data/iam/security-credentials/";
        for (asked, canonical) in [
            ("reader", "reader"),
            ("reader/", "reader/"),
            ("/team/reader", "/team/reader"),
            ("%2Fteam%2Freader", "/team/reader"),
            ("team/reader", "team/reader"),
            ("arn:aws:iam::123456789012:role/reader", "arn:aws:iam::123456789012:role/reader"),
            ("arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Freader", "arn:aws:iam::123456789012:role/reader"),
            ("", ""),
            ("/", "/"),
        ] {
            assert_eq!(path(&format!("{base}{asked}")).unwrap(), format!("{base}{canonical}"), "{asked}");
        }
    }

    #[test]
    fn only_paths_are_targets() {
        let mut parts = parts("http://169.254.169.254/latest/meta-data/");
        assert_eq!(check(&parts), Err(Malformed::Target));
        parts.uri = http::Uri::from_static("*");
        assert_eq!(check(&parts), Err(Malformed::Target));
        parts.uri = http::Uri::from_static("169.254.169.254:80");
        parts.method = Method::CONNECT;
        assert_eq!(check(&parts), Err(Malformed::Target));
    }

    #[test]
    fn bodies_are_refused_however_they_are_announced() {
        for (name, value, sound) in [
            ("content-length", "0", true),
            ("content-length", "1", false),
            ("content-length", "00", false),
            ("transfer-encoding", "chunked", false),
            ("transfer-encoding", "identity", false),
        ] {
            let mut parts = parts("/ping");
            parts.headers.insert(name, value.parse().unwrap());
            let wanted = if sound { None } else { Some(Malformed::Body) };
            assert_eq!(check(&parts).err(), wanted, "{name}: {value}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        for (hosts, version, sound) in [
            (&["169.254.169.254"][..], Version::HTTP_11, true),
            (&["169.254.169.254:80"], Version::HTTP_11, true),
            (&["[fd00:ec2::254]:80"], Version::HTTP_11, true),
            (&["instance-data.ec2.internal"], Version::HTTP_11, true),
            (&[], Version::HTTP_11, false),
            (&[], Version::HTTP_10, true),
            (&["a", "a"], Version::HTTP_11, false),
            (&[""], Version::HTTP_11, false),
            (&["a b"], Version::HTTP_11, false),
            (&["a/b"], Version::HTTP_11, false),
            (&["user@a"], Version::HTTP_11, false),
        ] {
            let mut parts = parts("/ping");
            parts.version = version;
            parts.headers.clear();
            for host in hosts {
                parts.headers.append("host", host.parse().unwrap());
            }
            assert_eq!(check(&parts).is_ok(), sound, "{hosts:?} {version:?}");
        }
    }

    #[test]
    fn query_values_are_found_by_their_whole_name() {
        let parts = parts("/health?xdeep=2&deep=1&ip=10.0.0.1");
        let target = check(&parts).unwrap();
        assert_eq!(target.query_value("deep"), Some("1"));
        assert_eq!(target.query_value("ip"), Some("10.0.0.1"));
        assert_eq!(target.query_value("i"), None);
    }
}
