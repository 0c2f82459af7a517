//! Who goes before whom on the way to STS.

/// Why STS is asked; the first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// A pod waits for the answer.
    Waiting,
    /// Credentials in use end soon.
    Expiring,
    /// A pod was seen that will ask.
    Prefetch,
    /// Credentials in use are due for renewal and live for a good while.
    Refresh,
}

impl Rank {
    /// Every rank, first to last.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Expiring, Self::Prefetch, Self::Refresh];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Expiring => "expiring",
            Self::Prefetch => "prefetch",
            Self::Refresh => "refresh",
        }
    }
}
