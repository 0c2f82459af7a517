//! Writes the dashboards of `deploy/grafana` from their sources.

use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<(), String> {
    for dashboard in kiam_tests::dashboards::render()? {
        fs::write(&dashboard.file, dashboard.text())
            .map_err(|error| format!("{}: {error}", dashboard.file.display()))?;
    }
    Ok(())
}
