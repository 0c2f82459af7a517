//! F5: every certificate and the authority behind them change, again and again.

use std::fs;

use kiam_tests::real::eventually;
use kiam_tests::stack::Program;

use crate::load::Load;
use crate::rig::{Rig, alone};

const TIMES: usize = 20;

#[test]
fn certificates_and_authorities_that_change_twenty_times_fail_no_request() {
    alone(async {
        let mut rig = Rig::start(&[]).await;
        let load = Load::start(&rig.pods);
        rig.stack.pki.announce_authority();
        in_effect(&rig, 1).await;
        for changes in 1..=TIMES {
            rig.stack.pki.succeed_authority();
            in_effect(&rig, changes + 1).await;
        }
        rig.wait_until_supplied().await;
        let tally = load.stop(&rig.stack.sts).await;
        let (replaced, lost) = (
            rig.count(r#"kiam_stream_moves_total{why="replaced"}"#).await,
            rig.count(r#"kiam_stream_moves_total{why="lost"}"#).await,
        );
        println!(
            "F5: {tally}; certificates and authorities changed {TIMES} times, streams replaced {replaced}, lost {lost}"
        );
        tally.assert_none_failed();
        assert!(replaced >= 20.0 && lost < 1.0, "streams go on while others are made with the new certificates");
    });
}

/// Writes all files anew, for the time of this number, and waits until all programs have read them.
async fn in_effect(rig: &Rig, times: usize) {
    rig.stack.pki.reissue_all();
    eventually("every program to have the new certificates", async || {
        rig.programs().all(|program| reloads(program) >= times).then_some(())
    })
    .await;
}

/// How often a program has read new certificates.
fn reloads(program: &Program) -> usize {
    fs::read_to_string(program.log()).expect("the log").matches("certificates reloaded").count()
}
