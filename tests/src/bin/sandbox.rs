//! `kiam-sandbox`.

fn main() {}
