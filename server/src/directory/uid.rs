//! Pods' uids. There are as many as pods, so they are kept in the least memory.

use std::fmt;
use std::sync::Arc;

/// A pod's uid: never reused, unlike its name and its IPs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PodUid(Form);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    /// The API server makes UUIDs, in lower case: sixteen bytes, here without an allocation.
    Uuid([u8; 16]),
    /// Nobody promises that.
    Text(Arc<str>),
}

/// Where the hyphens of a UUID are.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl From<&str> for PodUid {
    fn from(text: &str) -> Self {
        Self(uuid(text).map_or_else(|| Form::Text(text.into()), Form::Uuid))
    }
}

/// The bytes of a UUID in the one spelling that [`PodUid`] shows.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let (mut bytes, mut digits) = ([0; 16], 0);
    for (place, character) in text.bytes().enumerate() {
        if HYPHENS.contains(&place) {
            if character != b'-' {
                return None;
            }
            continue;
        }
        let digit = match character {
            b'0'..=b'9' => character - b'0',
            b'a'..=b'f' => character - b'a' + 10,
            _ => return None,
        };
        let byte: &mut u8 = bytes.get_mut(digits / 2)?;
        *byte = *byte << 4 | digit;
        digits += 1;
    }
    (digits == 32).then_some(bytes)
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Text(text) => f.write_str(text),
            Form::Uuid(bytes) => {
                for (number, byte) in bytes.iter().enumerate() {
                    let hyphen = if matches!(number, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(f, "{hyphen}{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0b8f6a3e-91c2-4d57-8e1f-a0b1c2d3e4f5";

    #[test]
    fn a_uid_is_shown_as_it_was_given() {
        let almost = [
            UUID.to_uppercase(),
            UUID.replace('-', ""),
            UUID.replacen('-', "0", 1),
            UUID.replacen('b', "-", 1),
            format!("{UUID}0"),
            UUID[1..].to_owned(),
        ];
        for text in almost.iter().map(String::as_str).chain([UUID, "", "uid-of-a", "ä"]) {
            assert_eq!(PodUid::from(text).to_string(), text);
        }
    }

    #[test]
    fn uids_are_equal_if_their_texts_are() {
        assert_eq!(PodUid::from(UUID), PodUid::from(UUID));
        assert_ne!(PodUid::from(UUID), PodUid::from(UUID.to_uppercase().as_str()));
        assert_ne!(PodUid::from(UUID), PodUid::from(UUID.replace('5', "6").as_str()));
    }

    #[test]
    fn a_uuid_takes_no_allocation_and_no_more_room_than_that() {
        assert!(matches!(PodUid::from(UUID).0, Form::Uuid(_)));
        assert_eq!(size_of::<PodUid>(), 24);
    }
}
