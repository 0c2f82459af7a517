//! Stamps the version: the package's, and after a `+` the revision that `KIAM_REVISION` names where the programs are
//! built to be handed out (`deploy/images/build`). Git is not asked here: each commit would build everything again.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed=KIAM_REVISION");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let stamped = match env::var("KIAM_REVISION") {
        Ok(revision) if !revision.is_empty() => format!("{version}+{revision}"),
        _ => version,
    };
    println!("cargo::rustc-env=KIAM_VERSION={stamped}");
}
