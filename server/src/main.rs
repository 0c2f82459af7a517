//! The server's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    kiam_server::app::run()
}
