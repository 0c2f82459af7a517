//! Netlink messages and their attributes, as bytes. The layouts are those of the kernel's `linux/netlink.h`. A message
//! begins with a head that belongs to its subsystem, and goes on with attributes.

/// The bit that marks an attribute made of attributes.
const NESTED: u16 = 1 << 15;
/// The bits of an attribute's type that are its number.
const TYPE: u16 = (1 << 14) - 1;
/// The length of what every message has in front of its head.
const HEADER: usize = 16;

/// Attributes being written.
#[derive(Debug, Default)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    /// Adds bytes.
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // An attribute is a rule at most, far from 64 KiB.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a text.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Adds a number, big-endian as netfilter has it.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds attributes.
    pub(crate) fn nested(self, kind: u16, value: &Self) -> Self {
        self.bytes(kind | NESTED, &value.0)
    }
}

/// One message to the kernel.
pub(crate) fn message(kind: u16, flags: u16, sequence: u32, head: &[u8], body: &Attributes) -> Vec<u8> {
    let length = u32::try_from(HEADER + head.len() + body.0.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(head);
    bytes.extend(&body.0);
    bytes
}

/// A message of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// Everything after the header.
    body: &'a [u8],
}

impl<'a> Received<'a> {
    /// The messages of one datagram; none, at the end, for what is cut off.
    pub(crate) fn all(mut datagram: &'a [u8]) -> impl Iterator<Item = Option<Self>> {
        std::iter::from_fn(move || {
            if datagram.is_empty() {
                return None;
            }
            let first = Self::first(datagram);
            let length = first.map_or(datagram.len(), |first| HEADER + first.body.len());
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(first)
        })
    }

    fn first(datagram: &'a [u8]) -> Option<Self> {
        let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk()?)).ok()?;
        Some(Self {
            kind: u16::from_ne_bytes(*datagram.get(4..)?.first_chunk()?),
            flags: u16::from_ne_bytes(*datagram.get(6..)?.first_chunk()?),
            sequence: u32::from_ne_bytes(*datagram.get(8..)?.first_chunk()?),
            body: datagram.get(HEADER..length)?,
        })
    }

    /// Its head, of a length that its subsystem knows, and the attributes after it.
    pub(crate) fn split<const HEAD: usize>(self) -> Option<(&'a [u8; HEAD], Read<'a>)> {
        self.body.split_first_chunk().map(|(head, attributes)| (head, Read(attributes)))
    }

    /// The number that an error message begins with: 0, or an error number made negative.
    pub(crate) fn error(self) -> Option<i32> {
        self.body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
    }
}

/// Attributes being read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read<'a>(&'a [u8]);

impl<'a> Read<'a> {
    /// Numbers and values of all attributes.
    pub(crate) fn all(self) -> impl Iterator<Item = (u16, &'a [u8])> {
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
    pub(crate) fn bytes(self, kind: u16) -> Option<&'a [u8]> {
        self.all().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The attributes that an attribute is made of; none if it is not there.
    pub(crate) fn nested(self, kind: u16) -> Self {
        Self(self.bytes(kind).unwrap_or_default())
    }

    /// The same for one that was found already.
    pub(crate) fn within(value: &'a [u8]) -> Self {
        Self(value)
    }

    /// A text, without its end.
    pub(crate) fn text(self, kind: u16) -> Option<&'a str> {
        let bytes = self.bytes(kind)?;
        std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()
    }

    /// A number of 32 bits, big-endian.
    pub(crate) fn number(self, kind: u16) -> Option<u32> {
        self.bytes(kind)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// A number of 64 bits, big-endian.
    pub(crate) fn long_number(self, kind: u16) -> Option<u64> {
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
            [message(0xa06, 0x5, 9, b"head", &body), message(0xa00, 0, 10, b"head", &Attributes::default())].concat();
        let messages: Vec<Received<'_>> = Received::all(&datagram).map(Option::unwrap).collect();
        assert_eq!(
            messages.iter().map(|m| (m.kind, m.flags, m.sequence)).collect::<Vec<_>>(),
            [(0xa06, 5, 9), (0xa00, 0, 10)]
        );
        let (head, read) = messages[0].split().unwrap();
        assert_eq!(head, b"head");
        assert_eq!(read.text(1), Some("kiam"));
        assert_eq!((read.nested(4).number(1), read.nested(4).long_number(2)), (Some(80), Some(7)));
        assert_eq!(read.nested(5).all().count() + messages[1].split::<4>().unwrap().1.all().count(), 0);
    }

    #[test]
    fn bytes_that_are_cut_off_anywhere_are_no_message() {
        let whole = message(0xa06, 0, 1, &[0; 4], &Attributes::default().text(1, "kiam").number(2, 3));
        for length in 1..whole.len() {
            let cut = &whole[..length];
            assert!(Received::all(cut).all(|message| message.is_none()));
            assert_eq!(
                Received::all(&[&whole, cut].concat()).map(|message| message.is_some()).collect::<Vec<_>>(),
                [true, false]
            );
            let _ = Read::within(cut).all().count();
        }
    }
}
