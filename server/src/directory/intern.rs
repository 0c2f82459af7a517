//! Shares the texts that many pods have in common: namespaces, node names, roles.

use std::collections::HashSet;
use std::sync::Arc;

/// A set of shared texts. Those that nobody uses any more are dropped whenever the set has doubled.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Interner {
    const SMALLEST_SWEEP: usize = 1024;

    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return Arc::clone(shared);
        }
        if self.texts.len() >= self.sweep_at {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = (self.texts.len() * 2).max(Self::SMALLEST_SWEEP);
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_allocation() {
        let mut interner = Interner::default();
        assert!(Arc::ptr_eq(&interner.share("node-1"), &interner.share("node-1")));
    }

    #[test]
    fn texts_that_nobody_uses_do_not_pile_up() {
        let mut interner = Interner::default();
        let kept = interner.share("kept");
        for n in 0..100_000 {
            interner.share(&n.to_string());
        }
        assert!(interner.texts.len() <= Interner::SMALLEST_SWEEP + 1, "{}", interner.texts.len());
        assert!(Arc::ptr_eq(&kept, &interner.share("kept")));
    }
}
