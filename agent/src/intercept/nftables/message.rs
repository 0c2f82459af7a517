//! Netlink messages and their attributes, as bytes. The layouts are those of the kernel's `linux/netlink.h` and
//! `linux/netfilter/nfnetlink.h`; numbers in attributes are big-endian.

/// The bit that marks an attribute made of attributes.
const NESTED: u16 = 1 << 15;
/// The bits of an attribute's type that are its number.
const TYPE: u16 = (1 << 14) - 1;
/// The length of a message's header, and of netfilter's own header after it.
const HEADER: usize = 16;
const NETFILTER_HEADER: usize = 4;

/// Attributes being written.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// Adds bytes.
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // An attribute is a rule at most, far from 64 KiB.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a text.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Adds a number.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds attributes.
    pub(super) fn nested(self, kind: u16, value: &Self) -> Self {
        self.bytes(kind | NESTED, &value.0)
    }
}

/// One message to the kernel.
pub(super) fn message(kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, body: &Attributes) -> Vec<u8> {
    let length = u32::try_from(HEADER + NETFILTER_HEADER + body.0.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(&body.0);
    bytes
}

/// A message of the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// Everything after the header.
    body: &'a [u8],
}

impl<'a> Received<'a> {
    /// The messages of one datagram; what is cut off is left out.
    pub(super) fn all(mut datagram: &'a [u8]) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            let (header, _) = datagram.split_at_checked(HEADER)?;
            let length = usize::try_from(u32::from_ne_bytes(*header.first_chunk()?)).ok()?;
            let body = datagram.get(HEADER..length)?;
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(Self {
                kind: u16::from_ne_bytes(*header.get(4..)?.first_chunk()?),
                flags: u16::from_ne_bytes(*header.get(6..)?.first_chunk()?),
                sequence: u32::from_ne_bytes(*header.get(8..)?.first_chunk()?),
                body,
            })
        })
    }

    /// The attributes after netfilter's header.
    pub(super) fn attributes(self) -> Read<'a> {
        Read(self.body.get(NETFILTER_HEADER..).unwrap_or_default())
    }

    /// The number that an error message begins with: 0, or an error number made negative.
    pub(super) fn error(self) -> Option<i32> {
        self.body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
    }
}

/// Attributes being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read<'a>(&'a [u8]);

impl<'a> Read<'a> {
    /// Numbers and values of all attributes.
    pub(super) fn all(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
            let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
            let value = rest.get(4..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((kind & TYPE, value))
        })
    }

    /// An attribute's bytes.
    pub(super) fn bytes(self, kind: u16) -> Option<&'a [u8]> {
        self.all().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The attributes that an attribute is made of; none if it is not there.
    pub(super) fn nested(self, kind: u16) -> Self {
        Self(self.bytes(kind).unwrap_or_default())
    }

    /// The same for one that was found already.
    pub(super) fn within(value: &'a [u8]) -> Self {
        Self(value)
    }

    /// A text, without its end.
    pub(super) fn text(self, kind: u16) -> Option<&'a str> {
        let bytes = self.bytes(kind)?;
        std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()
    }

    /// A number of 32 bits.
    pub(super) fn number(self, kind: u16) -> Option<u32> {
        self.bytes(kind)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// A number of 64 bits.
    pub(super) fn long_number(self, kind: u16) -> Option<u64> {
        self.bytes(kind)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let inner = Attributes::default().number(1, 80).bytes(2, &7_u64.to_be_bytes());
        let body = Attributes::default().text(1, "kiam").nested(4, &inner);
        let datagram =
            [message(0xa06, 0x5, 9, 1, 0, &body), message(0xa00, 0, 10, 1, 0, &Attributes::default())].concat();
        let messages: Vec<Received<'_>> = Received::all(&datagram).collect();
        assert_eq!(
            messages.iter().map(|m| (m.kind, m.flags, m.sequence)).collect::<Vec<_>>(),
            [(0xa06, 5, 9), (0xa00, 0, 10)]
        );
        let read = messages[0].attributes();
        assert_eq!(read.text(1), Some("kiam"));
        assert_eq!((read.nested(4).number(1), read.nested(4).long_number(2)), (Some(80), Some(7)));
        assert_eq!(read.nested(5).all().count() + messages[1].attributes().all().count(), 0);
    }

    #[test]
    fn bytes_that_are_cut_off_anywhere_are_no_message() {
        let whole = message(0xa06, 0, 1, 1, 0, &Attributes::default().text(1, "kiam").number(2, 3));
        for length in 0..whole.len() {
            let cut = &whole[..length];
            assert_eq!(Received::all(cut).count(), 0);
            let _ = Read::within(cut).all().count();
        }
    }
}
