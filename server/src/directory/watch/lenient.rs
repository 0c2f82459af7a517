//! Decoding that never fails: a value of the wrong kind is skipped whole and remembered as an error, so that one
//! object that nobody understands does not cost the list that it stands in.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};

/// A `T`, or why there is none. Absent and null are `T`'s default, which is why
/// a `T` is never an `Option`. Each field of `T` that is not a plain text or
/// switch must be lenient itself: a `T` that gives up in the middle of an object spoils what comes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lenient<T>(pub(super) Result<T, String>);

impl<T: Default> Default for Lenient<T> {
    fn default() -> Self {
        Self(Ok(T::default()))
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyKind(PhantomData))
    }
}

struct AnyKind<T>(PhantomData<T>);

impl<T> AnyKind<T> {
    fn keep<E: Error>(decoded: Result<T, E>) -> Lenient<T> {
        Lenient(decoded.map_err(|error| error.to_string()))
    }
}

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for AnyKind<T> {
    type Value = Lenient<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Lenient::default())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Self::keep(T::deserialize(IntoDeserializer::<E>::into_deserializer(value))))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Self::keep(T::deserialize(IntoDeserializer::<E>::into_deserializer(value))))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Self::keep(T::deserialize(IntoDeserializer::<E>::into_deserializer(value))))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Self::keep(T::deserialize(IntoDeserializer::<E>::into_deserializer(value))))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Self::keep(T::deserialize(IntoDeserializer::<E>::into_deserializer(value))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let decoded = T::deserialize(SeqAccessDeserializer::new(&mut items));
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::keep(decoded))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let decoded = T::deserialize(MapAccessDeserializer::new(&mut fields));
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::keep(decoded))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::Lenient;

    #[derive(Clone, Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Thing {
        name: Lenient<String>,
        parts: Lenient<Vec<Lenient<String>>>,
    }

    fn things(json: &str) -> Vec<Lenient<Thing>> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn values_of_every_wrong_kind_are_skipped_whole() {
        for odd in ["7", "-7", "7.5", "true", "[1, [2], {}]", r#"{"a": {"b": [1]}}"#] {
            let decoded = things(&format!(r#"[{{"name": {odd}, "other": {odd}, "parts": ["p"]}}, {{"name": "n"}}]"#));
            let [first, second] = decoded.as_slice() else { panic!("{decoded:?}") };
            let first = first.0.as_ref().unwrap();
            assert!(first.name.0.as_ref().unwrap_err().contains("invalid type"), "{odd}: {first:?}");
            assert_eq!(first.parts.0.as_ref().unwrap().len(), 1);
            assert_eq!(second.0.as_ref().unwrap().name.0, Ok("n".into()));
        }
    }

    #[test]
    fn a_value_that_is_no_object_at_all_costs_only_itself() {
        let decoded = things(r#"[7, "text", true, {"name": "n"}]"#);
        let sound: Vec<_> = decoded.iter().map(|thing| thing.0.is_ok()).collect();
        assert_eq!(sound, [false, false, false, true]);
    }

    #[test]
    fn absent_and_null_are_the_default() {
        assert_eq!(things(r#"[null, {}, {"name": null}]"#), vec![Lenient::default(); 3]);
    }

    #[test]
    fn broken_json_is_still_an_error() {
        assert!(serde_json::from_str::<Vec<Lenient<Thing>>>(r#"[{"name": "#).is_err());
    }
}
