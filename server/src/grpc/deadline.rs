//! How long a caller is prepared to wait: the `grpc-timeout` header of the gRPC specification.

use std::time::Duration;

use tonic::metadata::MetadataMap;

/// The longest that a request waits for a pod or namespace that the server does not know yet.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Left of the caller's own time for the answer to reach it.
const MARGIN: Duration = Duration::from_millis(100);

/// How long to wait on behalf of a caller.
pub(super) fn patience(metadata: &MetadataMap) -> Duration {
    let given = metadata.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?));
    given.map_or(LONGEST_WAIT, |timeout| timeout.saturating_sub(MARGIN).min(LONGEST_WAIT))
}

/// At most eight digits and a unit.
fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience_for(timeout: &str) -> Duration {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", timeout.parse().unwrap());
        patience(&metadata)
    }

    #[test]
    fn a_caller_in_a_hurry_gets_its_answer_in_time() {
        assert_eq!(patience_for("1000m"), Duration::from_millis(900));
        assert_eq!(patience_for("2S"), Duration::from_millis(1900));
        assert_eq!(patience_for("500000u"), Duration::from_millis(400));
        assert_eq!(patience_for("50m"), Duration::ZERO);
        assert_eq!(patience_for("1n"), Duration::ZERO);
    }

    #[test]
    fn nobody_waits_longer_than_five_seconds() {
        for timeout in ["30S", "1M", "99999999H", "", "S", "999999999S", "1x", "-1S"] {
            assert_eq!(patience_for(timeout), LONGEST_WAIT, "{timeout:?}");
        }
        assert_eq!(patience(&MetadataMap::new()), LONGEST_WAIT);
    }
}
