//! The numbers of one stream's messages. Each stream of `sync/stream` counts with one.

/// A stream that skips a number has lost something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {expected} is missing: {got} came instead")]
pub(crate) struct Gap {
    expected: u64,
    got: u64,
}

/// The number of the last message: 1, 2, 3, …
#[derive(Debug, Default)]
pub(crate) struct Sequence(u64);

impl Sequence {
    /// Takes the number of the next message.
    pub(crate) fn take(&mut self, got: u64) -> Result<(), Gap> {
        let expected = self.0.saturating_add(1);
        if got != expected {
            return Err(Gap { expected, got });
        }
        self.0 = got;
        Ok(())
    }

    /// The number of the last message; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_skipped_repeated_or_out_of_order_is_a_gap() {
        for (numbers, wanted) in [
            (&[1, 2, 3][..], Ok(3)),
            (&[2], Err(Gap { expected: 1, got: 2 })),
            (&[0], Err(Gap { expected: 1, got: 0 })),
            (&[1, 3], Err(Gap { expected: 2, got: 3 })),
            (&[1, 2, 2], Err(Gap { expected: 3, got: 2 })),
            (&[1, u64::MAX], Err(Gap { expected: 2, got: u64::MAX })),
        ] {
            let mut sequence = Sequence::default();
            let taken = numbers.iter().try_for_each(|number| sequence.take(*number));
            assert_eq!(taken.map(|()| sequence.last()), wanted, "{numbers:?}");
        }
    }
}
