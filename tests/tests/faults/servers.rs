//! F1: one of two servers is lost, or stopped, and comes back; then the other.

use crate::load::Load;
use crate::rig::{Rig, alone, restart};

const TIMES: usize = 20;

#[test]
fn servers_that_are_killed_and_stopped_in_turns_fail_no_request_of_a_known_pod() {
    alone(async {
        let mut rig = Rig::start(&[]).await;
        let load = Load::start(&rig.pods);
        for turn in 0..TIMES {
            let server = rig.server(turn);
            // Each is killed once, then stopped once, and so on.
            if turn / 2 % 2 == 0 {
                server.kill().await.expect("the server is killed");
            } else {
                assert!(server.stop().await.expect("the server ends").success());
            }
            restart(server).await;
            rig.wait_until_supplied().await;
        }
        let tally = load.stop(&rig.stack.sts).await;
        let lost = rig.count(r#"kiam_stream_moves_total{why="lost"}"#).await;
        let sent_away = rig.count(r#"kiam_stream_moves_total{why="go_away"}"#).await;
        println!("F1: {tally}; servers killed or stopped {TIMES} times, streams lost {lost}, sent away {sent_away}");
        tally.assert_none_failed();
        assert!(lost >= 10.0 && sent_away >= 10.0, "servers without agents ended");
    });
}
