//! What a scraper asks of `/metrics`: which families, by its query, and in which form, by its headers.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prometheus::proto::MetricFamily;
use regex::{Regex, RegexBuilder};

use super::exposition::{Format, encode};
use super::serve::{Page, page, text};

/// The longest expression that is taken, in bytes.
const FILTER_MAX: usize = 1024;
/// The most memory that a compiled expression may take, in bytes. Matching takes time in proportion to the name.
const COMPILED_MAX: usize = 256 * 1024;
/// Answers shorter than this are not worth compressing.
const COMPRESSED_MIN: usize = 1024;

/// Whose series are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    /// The program's.
    #[default]
    Own,
    /// The program's and those of all agents: `scope=fleet`.
    Fleet {
        /// Not added up: `per_node=true`.
        per_node: bool,
    },
}

/// The families that are asked for; all if nothing is said.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) scope: Scope,
    /// `name[]=…`, any number of times.
    names: Vec<String>,
    /// `filter=…`: an expression that the whole name must match.
    filter: Option<Regex>,
}

impl Wanted {
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let (mut wanted, mut is_fleet, mut per_node) = (Self::default(), false, false);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "name[]" => wanted.names.push(value.into_owned()),
                "filter" => wanted.filter = Some(filter(&value)?),
                "scope" if value == "fleet" => is_fleet = true,
                "scope" => return Err(format!("scope: {value:?} is not valid: expected fleet")),
                "per_node" if ["true", "false"].contains(&&*value) => per_node = value == "true",
                "per_node" => return Err(format!("per_node: {value:?} is not valid: expected true or false")),
                other => return Err(format!("{other:?} is not known: expected name[], filter, scope or per_node")),
            }
        }
        match (is_fleet, per_node) {
            (true, per_node) => wanted.scope = Scope::Fleet { per_node },
            (false, true) => return Err("per_node: expected scope=fleet, too".into()),
            (false, false) => {}
        }
        Ok(wanted)
    }

    fn takes(&self, name: &str) -> bool {
        (self.names.is_empty() || self.names.iter().any(|wanted| wanted == name))
            && self.filter.as_ref().is_none_or(|filter| filter.is_match(name))
    }
}

fn filter(expression: &str) -> Result<Regex, String> {
    if expression.len() > FILTER_MAX {
        return Err(format!("filter: expected at most {FILTER_MAX} bytes"));
    }
    let compile = |expression: &str| RegexBuilder::new(expression).size_limit(COMPILED_MAX).build();
    // On its own first: what is anchored must be one expression, not two halves around the anchors' own group.
    let anchored = compile(expression).and_then(|_| compile(&format!("^(?:{expression})$")));
    anchored
        .map_err(|_| format!("filter: {expression:?} is not valid: expected a regular expression of a family's name"))
}

/// The answer to what is wrong with a query.
pub(super) fn refused(wrong: &str) -> Page {
    text(StatusCode::BAD_REQUEST, format!("{wrong}\n"))
}

/// The answer to a request with these headers: what is wanted of the families.
pub(super) fn answer(mut families: Vec<MetricFamily>, wanted: &Wanted, headers: &HeaderMap) -> Page {
    families.retain(|family| wanted.takes(family.name()));
    let is_open = accepts(headers, header::ACCEPT, "application/openmetrics-text");
    let format = if is_open { Format::OpenMetrics } else { Format::Text };
    let body = match encode(&families, format) {
        Ok(body) => body,
        Err(malformed) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{malformed}\n")),
    };
    let content_type = HeaderValue::from_static(format.content_type());
    let mut answer = match compressed(&body, headers) {
        Some(compressed) => {
            let mut page = page(StatusCode::OK, content_type, compressed);
            page.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            page
        }
        None => page(StatusCode::OK, content_type, body),
    };
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    answer
}

fn compressed(body: &str, headers: &HeaderMap) -> Option<Vec<u8>> {
    if body.len() < COMPRESSED_MIN || !accepts(headers, header::ACCEPT_ENCODING, "gzip") {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.as_bytes()).and_then(|()| encoder.finish()).ok()
}

/// Whether a header lists `wanted`, and not with the weight 0.
fn accepts(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let is_wanted = parts.next().is_some_and(|item| item.eq_ignore_ascii_case(wanted));
        is_wanted && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http_body_util::BodyExt as _;
    use prometheus::IntCounter;

    use super::*;
    use crate::registry::Registry;

    struct Answer {
        status: StatusCode,
        headers: HeaderMap,
        body: Vec<u8>,
    }

    impl Answer {
        fn text(&self) -> &str {
            std::str::from_utf8(&self.body).unwrap()
        }
    }

    /// Of three counters.
    async fn asked(query: &str, headers: &[(header::HeaderName, &'static str)]) -> Answer {
        let registry = Registry::new();
        for name in ["kiam_a_total", "kiam_b_total", "grpc_c_total"] {
            registry.register(Box::new(IntCounter::new(name, "help ".repeat(200)).unwrap())).unwrap();
        }
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        let answer = match Wanted::parse(query) {
            Ok(wanted) => answer(registry.gather(), &wanted, &headers),
            Err(wrong) => refused(&wrong),
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        Answer { status, headers, body: answer.into_body().collect().await.unwrap().to_bytes().to_vec() }
    }

    #[tokio::test]
    async fn families_are_chosen_by_name_and_by_expression() {
        for (query, shown) in [
            ("", ["kiam_a_total", "kiam_b_total", "grpc_c_total"].as_slice()),
            ("name[]=kiam_a_total&name[]=grpc_c_total", &["kiam_a_total", "grpc_c_total"]),
            ("name%5B%5D=kiam_b_total", &["kiam_b_total"]),
            ("filter=kiam_.*", &["kiam_a_total", "kiam_b_total"]),
            ("filter=kiam_", &[]),
            ("filter=.*_(b|c)_total&name[]=grpc_c_total", &["grpc_c_total"]),
            ("name[]=nothing", &[]),
        ] {
            let answer = asked(query, &[]).await;
            assert_eq!(answer.status, StatusCode::OK, "{query}");
            for name in ["kiam_a_total", "kiam_b_total", "grpc_c_total"] {
                assert_eq!(answer.text().contains(&format!("{name} 0")), shown.contains(&name), "{name} by {query}");
            }
        }
    }

    #[tokio::test]
    async fn a_bad_query_is_told_what_was_expected() {
        let (long, explosive) = (format!("filter={}", "a".repeat(1025)), "filter=(((a{100}){100}){100})");
        let wrong = ["filter=(", "names=kiam_a_total", "filter=a)|(b", "scope=all", "per_node=1", "per_node=true"];
        for query in wrong.into_iter().chain([&*long, explosive]) {
            let answer = asked(query, &[]).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
            assert!(answer.text().contains("expected"), "{}", answer.text());
        }
    }

    #[tokio::test]
    async fn a_scraper_gets_the_form_that_it_accepts() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
        for (accept, content_type, end) in [
            (prometheus, Format::OpenMetrics.content_type(), "# EOF\n"),
            ("text/plain", "text/plain; version=0.0.4; charset=utf-8", "kiam_b_total 0\n"),
            ("application/openmetrics-text;q=0", "text/plain; version=0.0.4; charset=utf-8", "kiam_b_total 0\n"),
        ] {
            let answer = asked("", &[(header::ACCEPT, accept)]).await;
            assert_eq!(answer.headers[header::CONTENT_TYPE], content_type);
            assert!(answer.text().ends_with(end), "{accept}: {}", answer.text());
        }
    }

    #[tokio::test]
    async fn a_long_answer_is_compressed_for_who_accepts_it() {
        let plain = asked("", &[]).await;
        assert!(!plain.headers.contains_key(header::CONTENT_ENCODING));
        let zipped = asked("", &[(header::ACCEPT_ENCODING, "br, gzip")]).await;
        assert_eq!(zipped.headers[header::CONTENT_ENCODING], "gzip");
        let mut text = String::new();
        GzDecoder::new(zipped.body.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, plain.text());
        let short = asked("name[]=nothing", &[(header::ACCEPT_ENCODING, "gzip")]).await;
        assert!(!short.headers.contains_key(header::CONTENT_ENCODING));
    }
}
