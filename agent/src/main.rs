//! The agent's binary; everything is in `app.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kiam_agent::app::run()
}
