//! The inputs that are kept: one file each.

use std::fs;
use std::path::PathBuf;

use super::way;

fn directory(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", target].iter().collect()
}

/// The target's inputs, in the order of their names; none where there is no directory.
pub(super) fn load(target: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(directory(target)) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("the corpus can be listed").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("the corpus can be read")).collect()
}

/// Keeps an input that broke a rule; where.
pub(super) fn save(target: &str, input: &[u8]) -> String {
    let directory = directory(target);
    let file = directory.join(format!("found-{:016x}", way(input)));
    fs::create_dir_all(&directory).and_then(|()| fs::write(&file, input)).expect("the corpus can be written");
    file.display().to_string()
}
