//! Credentials as bytes. A server encodes them once, when AWS gives them; each answer is a copy of the bytes.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, skip_field};
use prost::{DecodeError, Message};
use zeroize::Zeroizing;

use crate::kiam::Credentials;

/// An encoded [`Credentials`]. Clones share the bytes, which are wiped with the last of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EncodedCredentials(Arc<Zeroizing<Vec<u8>>>);

impl From<&Credentials> for EncodedCredentials {
    fn from(credentials: &Credentials) -> Self {
        Self(Arc::new(Zeroizing::new(credentials.encode_to_vec())))
    }
}

impl Hash for EncodedCredentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_slice().hash(state);
    }
}

impl fmt::Debug for EncodedCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncodedCredentials(<redacted>)")
    }
}

impl Message for EncodedCredentials {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    /// Only servers have this type, and they only send it: what is decoded is a [`Credentials`].
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buffer, context)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_once_is_the_same_message() {
        let credentials = Credentials { token: "FQoGZXIvYXdzE".into(), ..Credentials::default() };
        let encoded = EncodedCredentials::from(&credentials);
        assert_eq!(encoded.encode_to_vec(), credentials.encode_to_vec());
        assert_eq!(Credentials::decode(encoded.encode_to_vec().as_slice()), Ok(credentials));
    }

    #[test]
    fn debug_shows_nothing() {
        let credentials = Credentials { token: "FQoGZXIvYXdzE".into(), ..Credentials::default() };
        assert_eq!(format!("{:?}", EncodedCredentials::from(&credentials)), "EncodedCredentials(<redacted>)");
    }
}
