//! From a history that fails to a shorter one that still does.

use crate::history::History;
use crate::run::{Failure, run};

/// Takes steps away for as long as what remains fails.
pub(crate) fn shrink(history: &History, failure: Failure) -> (History, Failure) {
    let (mut history, mut failure) = (history.clone(), failure);
    let mut size = history.steps.len();
    while size > 0 {
        let mut from = 0;
        while from < history.steps.len() {
            let mut shorter = history.clone();
            shorter.steps.drain(from..history.steps.len().min(from + size));
            match run(&shorter) {
                Err(still) => (history, failure) = (shorter, still),
                Ok(()) => from += size,
            }
        }
        size = if size > 1 { size.div_ceil(2) } else { 0 };
    }
    (history, failure)
}
