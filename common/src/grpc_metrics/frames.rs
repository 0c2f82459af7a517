//! Counting messages in a gRPC body: each is a flag byte, a length in four bytes, big-endian, and as many bytes.

/// The bytes before each message.
const HEADER: usize = 5;

/// Where in a body the reader is. Bodies come in chunks that know nothing of messages.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes of the current header read so far.
    header: usize,
    /// The length as far as it is read; once the header is whole, the bytes of the message still to come.
    left: u32,
}

impl Frames {
    /// Reads the next chunk: how many messages end in it.
    pub(super) fn read(&mut self, mut chunk: &[u8]) -> u64 {
        let mut ended = 0;
        while !chunk.is_empty() {
            if self.header < HEADER {
                chunk = self.read_header(chunk);
            } else {
                let step = usize::try_from(self.left).unwrap_or(usize::MAX).min(chunk.len());
                self.left = self.left.saturating_sub(u32::try_from(step).unwrap_or(u32::MAX));
                chunk = chunk.get(step..).unwrap_or_default();
            }
            if self.header == HEADER && self.left == 0 {
                *self = Self::default();
                ended += 1;
            }
        }
        ended
    }

    /// Takes one byte of the header.
    fn read_header<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let Some((byte, rest)) = chunk.split_first() else { return chunk };
        // The flag says whether the message is compressed: nothing of the length.
        self.left = if self.header == 0 { 0 } else { self.left << 8 | u32::from(*byte) };
        self.header += 1;
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.extend(vec![7; length as usize]);
        bytes
    }

    #[test]
    fn messages_are_counted_however_the_body_is_cut() {
        let lengths = [0, 1, 300, 0, 70_000, 5];
        let body: Vec<u8> = lengths.into_iter().flat_map(message).collect();
        for size in [1, 2, 3, 4, 5, 6, 7, 299, 4096, body.len()] {
            let mut frames = Frames::default();
            let counted: u64 = body.chunks(size).map(|chunk| frames.read(chunk)).sum();
            assert_eq!(counted, 6, "chunks of {size}");
        }
    }

    #[test]
    fn a_message_that_does_not_end_is_not_counted() {
        let body = message(10);
        let mut frames = Frames::default();
        assert_eq!(frames.read(&body[..14]), 0);
        assert_eq!(frames.read(&[]), 0);
        assert_eq!(frames.read(&body[14..]), 1);
    }
}
