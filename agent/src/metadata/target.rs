//! Where a request to the instance metadata service goes: which host, and how a canonical path is written. Used by
//! `mod.rs`; tests of the encoding say what can never be in a request line.

use std::fmt;

use http::Uri;
use http::uri::{Authority, Scheme};

/// Where the service is: `http://host` or `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Authority);

impl Endpoint {
    /// Reads an endpoint; a slash may end it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an endpoint: expected http://host or http://host:port");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let is_plain = uri.scheme() == Some(&Scheme::HTTP) && matches!(uri.path(), "" | "/") && uri.query().is_none();
        match uri.into_parts().authority {
            Some(authority) if is_plain && !authority.as_str().contains('@') => Ok(Self(authority)),
            _ => Err(wrong()),
        }
    }

    /// Host and port.
    pub(super) fn authority(&self) -> &Authority {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

/// The target of the request: every byte that could mean something else is percent-encoded.
pub(super) fn encode(path: &str, query: Option<&str>) -> String {
    let mut target = String::with_capacity(path.len());
    push_encoded(&mut target, path, b"/:@-._~!$&'()*+,=");
    if let Some(query) = query {
        target.push('?');
        push_encoded(&mut target, query, b"/:@-._~!$&'()*+,=%?");
    }
    target
}

fn push_encoded(target: &mut String, text: &str, plain: &[u8]) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            target.push(char::from(byte));
        } else {
            target.push('%');
            let digits = [byte >> 4, byte & 15].map(usize::from);
            target.extend(digits.iter().filter_map(|digit| HEX.get(*digit)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_http_host() {
        for text in ["http://169.254.169.254", "http://127.0.0.1:8080/", "http://[fd00:ec2::254]:80"] {
            assert!(Endpoint::parse(text).is_ok(), "{text}");
        }
        for text in
            ["", "127.0.0.1", "https://127.0.0.1", "http://a/b", "http://a?b", "http://user@a", "http://a b", "/"]
        {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.contains("expected http://host"), "{error}");
        }
    }

    #[test]
    fn what_could_mean_something_else_is_encoded() {
        assert_eq!(encode("/latest/meta-data/a:b@c", None), "/latest/meta-data/a:b@c");
        assert_eq!(encode("/a\"b<c>d[e]{f}|g^h`i", None), "/a%22b%3Cc%3Ed%5Be%5D%7Bf%7D%7Cg%5Eh%60i");
        assert_eq!(encode("/a", Some("b=%41&c=d?e\"")), "/a?b=%41&c=d?e%22");
        for byte in 0..=u8::MAX {
            let line = encode(&format!("/{}", char::from(byte)), None);
            assert!(line.bytes().all(|b| b.is_ascii_graphic()), "{line}");
        }
    }
}
