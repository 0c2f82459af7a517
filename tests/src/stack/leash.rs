//! Children end with their parent, however it ends: the parent holds the child's standard input and writes nothing to
//! it, so the child reads its end exactly when the parent is gone.

use std::io::{Read, stdin};

/// Ends this process once nobody holds the other end of its standard input. Called first thing in a child.
pub fn hold() {
    std::thread::spawn(|| {
        // Whether it ends or breaks, the parent is gone.
        let _ = stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
