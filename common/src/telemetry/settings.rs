//! What the environment says of spans, by the names of OpenTelemetry's specification. Read once; what is wrong is told by
//! the variable's name and what was expected, never by its value, which may hold a password.

use std::ffi::OsString;
use std::path::PathBuf;

use http::Uri;
use opentelemetry_sdk::trace::Sampler;

const DISABLED: &str = "OTEL_SDK_DISABLED";
const ENDPOINT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOL: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const CERTIFICATE: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// A variable that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: expected {expected}")]
pub struct SettingsError {
    variable: &'static str,
    expected: &'static str,
}

/// Where spans go, and which.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The collector's URL, which is plain or of TLS.
    pub(super) endpoint: String,
    /// The file of authorities that the collector's certificate is checked by, and the variable that named it; none for
    /// a plain endpoint.
    pub(super) authorities: Option<(&'static str, PathBuf)>,
    /// Which traces are exported.
    pub(super) sampler: Sampler,
    /// What the spans are called after, if it is said.
    pub(super) service_name: Option<String>,
}

/// The environment: from a variable's name to its value.
type Environment<'e> = &'e dyn Fn(&str) -> Option<OsString>;

impl Settings {
    /// None if nothing is to be exported.
    pub(super) fn read(environment: Environment<'_>) -> Result<Option<Self>, SettingsError> {
        let is_disabled = text(environment, DISABLED)?.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let Some((variable, endpoint)) = first(environment, ENDPOINT)?.filter(|_| !is_disabled) else {
            return Ok(None);
        };
        let is_tls = is_tls(&endpoint).ok_or(SettingsError {
            variable,
            expected: "http://host:port or https://host:port of an OTLP collector",
        })?;
        if let Some((variable, _)) = first(environment, PROTOCOL)?.filter(|(_, protocol)| protocol != "grpc") {
            return Err(SettingsError { variable, expected: "grpc, which is all that is spoken here" });
        }
        let authorities = if is_tls { Some(authorities(environment)?) } else { None };
        check_attributes(environment)?;
        let service_name = text(environment, SERVICE_NAME)?;
        Ok(Some(Self { endpoint, authorities, sampler: sampler(environment)?, service_name }))
    }
}

/// A variable that is empty is taken as one that is not there.
fn text(environment: Environment<'_>, variable: &'static str) -> Result<Option<String>, SettingsError> {
    let value = environment(variable).filter(|value| !value.is_empty());
    let value = value.map(OsString::into_string).transpose();
    value.map_err(|_| SettingsError { variable, expected: "UTF-8" })
}

/// The first of the variables that is there, and its value: what is for traces alone comes before what is for all.
fn first(
    environment: Environment<'_>,
    variables: [&'static str; 2],
) -> Result<Option<(&'static str, String)>, SettingsError> {
    for variable in variables {
        if let Some(value) = text(environment, variable)? {
            return Ok(Some((variable, value)));
        }
    }
    Ok(None)
}

/// Whether the endpoint is of TLS; none if it is no endpoint. A path would mean nothing, and a user would be shown.
fn is_tls(endpoint: &str) -> Option<bool> {
    let uri: Uri = endpoint.parse().ok()?;
    let authority = uri.authority()?;
    if authority.host().is_empty() || authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") {
        return None;
    }
    match uri.scheme_str()? {
        "http" => Some(false),
        "https" => Some(true),
        _ => None,
    }
}

fn authorities(environment: Environment<'_>) -> Result<(&'static str, PathBuf), SettingsError> {
    let [_, variable] = CERTIFICATE;
    let (variable, file) = first(environment, CERTIFICATE)?
        .ok_or(SettingsError { variable, expected: "a file of certificate authorities, as the endpoint is https" })?;
    Ok((variable, file.into()))
}

fn sampler(environment: Environment<'_>) -> Result<Sampler, SettingsError> {
    let ratio = match text(environment, SAMPLER_ARG)? {
        None => 1.0,
        Some(ratio) => ratio
            .parse()
            .ok()
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .ok_or(SettingsError { variable: SAMPLER_ARG, expected: "a number from 0 to 1" })?,
    };
    let name = text(environment, SAMPLER)?;
    let name = name.as_deref().unwrap_or("parentbased_always_on");
    let (is_of_parent, root) = name.strip_prefix("parentbased_").map_or((false, name), |root| (true, root));
    let root = match root {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio),
        _ => {
            let expected = "always_on, always_off, traceidratio, or one of them after parentbased_";
            return Err(SettingsError { variable: SAMPLER, expected });
        }
    };
    Ok(if is_of_parent { Sampler::ParentBased(Box::new(root)) } else { root })
}

/// The SDK reads them itself, and passes over what it does not understand.
fn check_attributes(environment: Environment<'_>) -> Result<(), SettingsError> {
    let attributes = text(environment, RESOURCE_ATTRIBUTES)?.unwrap_or_default();
    if attributes.split_terminator(',').all(|attribute| attribute.contains('=')) {
        Ok(())
    } else {
        Err(SettingsError { variable: RESOURCE_ATTRIBUTES, expected: "key=value, and more of them after commas" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let value = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
        Settings::read(&value).map_err(|error| error.to_string())
    }

    fn with_endpoint(more: &[(&str, &str)]) -> Result<Settings, String> {
        let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")];
        read(&[&endpoint, more].concat()).map(Option::unwrap)
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_named_and_nobody_forbids_it() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "nonsense")]).unwrap().is_none());
        assert!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap().is_none());
        for value in ["true", "TRUE"] {
            let off = [("OTEL_SDK_DISABLED", value), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")];
            assert!(read(&off).unwrap().is_none(), "{value}");
        }
        with_endpoint(&[("OTEL_SDK_DISABLED", "false")]).unwrap();
    }

    #[test]
    fn what_is_for_traces_alone_counts_more() {
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317");
        assert_eq!(with_endpoint(&[traces]).unwrap().endpoint, "http://traces:4317");
        assert_eq!(read(&[traces]).unwrap().unwrap().endpoint, "http://traces:4317");
        let tls = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317");
        let (all, own) =
            (("OTEL_EXPORTER_OTLP_CERTIFICATE", "/all"), ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/own"));
        let file = |variables: &[(&str, &str)]| read(variables).unwrap().unwrap().authorities.unwrap();
        assert_eq!(file(&[tls, all]), (all.0, all.1.into()));
        assert_eq!(file(&[tls, all, own]), (own.0, own.1.into()));
    }

    #[test]
    fn an_endpoint_that_is_none_is_told_by_its_variable_and_never_by_its_value() {
        let expected = "expected http://host:port or https://host:port of an OTLP collector";
        for variable in ENDPOINT {
            for wrong in
                ["collector:4317", "4317", "grpc://secret", "http://", "http://u:secret@c:1", "http://c/secret"]
            {
                let error = read(&[(variable, wrong)]).unwrap_err();
                assert_eq!(error, format!("{variable}: {expected}"), "{wrong}");
            }
        }
        for right in ["http://collector:4317", "http://collector:4317/", "http://[::1]:4317", "http://collector"] {
            read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", right)]).unwrap();
        }
    }

    #[test]
    fn an_endpoint_of_tls_needs_authorities() {
        let error = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317")]).unwrap_err();
        assert!(error.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE: expected a file"), "{error}");
    }

    #[test]
    fn samplers_are_those_of_the_specification() {
        for (name, argument, expected) in [
            ("", "", "ParentBased(AlwaysOn)"),
            ("always_on", "", "AlwaysOn"),
            ("always_off", "", "AlwaysOff"),
            ("traceidratio", "0.25", "TraceIdRatioBased(0.25)"),
            ("traceidratio", "", "TraceIdRatioBased(1.0)"),
            ("parentbased_always_off", "", "ParentBased(AlwaysOff)"),
            ("parentbased_traceidratio", "0", "ParentBased(TraceIdRatioBased(0.0))"),
        ] {
            let settings = with_endpoint(&[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)]);
            assert_eq!(format!("{:?}", settings.unwrap().sampler), expected);
        }
    }

    #[test]
    fn whatever_else_is_wrong_is_named_with_what_was_expected() {
        for (variable, value, expected) in [
            ("OTEL_TRACES_SAMPLER", "xray", "always_on, always_off, traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.5", "a number from 0 to 1"),
            ("OTEL_TRACES_SAMPLER_ARG", "half", "a number from 0 to 1"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "grpc"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "key=value"),
        ] {
            let error = with_endpoint(&[(variable, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{variable}: expected {expected}")), "{error}");
        }
        with_endpoint(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c=d")]).unwrap();
        let unreadable = |name: &str| {
            use std::os::unix::ffi::OsStringExt as _;
            (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| OsString::from_vec(vec![0xff]))
        };
        let error = Settings::read(&unreadable).unwrap_err().to_string();
        assert_eq!(error, "OTEL_EXPORTER_OTLP_ENDPOINT: expected UTF-8");
    }
}
