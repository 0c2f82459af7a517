//! The process's limit of file descriptors, of which every connection takes one: `app.rs` asks at start how many
//! connections fit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything but pods' connections: clients of the metrics port (64), calls to the metadata service
/// (16), farewells (16), servers, listeners, files, pipes and the kernel's own.
const RESERVED: u64 = 128;

/// Raises the limit as far as the process may, as Go's programs do, and says how many of these connections fit.
pub(crate) fn room_for(connections: usize) -> usize {
    let Some(limit) = raised() else {
        return connections;
    };
    let room = room_below(limit);
    if room < connections {
        tracing::warn!(limit, connections, "too few file descriptors for --max-connections: fewer are served: {room}");
    }
    room.min(connections)
}

/// The limit after it has been raised; none if there is none.
fn raised() -> Option<u64> {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, ..limits };
    if setrlimit(Resource::Nofile, raised).is_ok() { limits.maximum } else { limits.current }
}

/// At least one: an agent that serves one connection at a time is better than none.
fn room_below(limit: u64) -> usize {
    usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_needs_itself_is_left() {
        assert_eq!(room_below(1024), 896);
        assert_eq!(room_below(256), 128);
        assert_eq!(room_below(64), 1);
        assert_eq!(room_below(u64::MAX), usize::try_from(u64::MAX - RESERVED).unwrap());
    }
}
