//! What tells a pass that waits for the ends of executions when to look, so that it costs nothing while nothing waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use tokio_util::sync::CancellationToken;

/// Signals that come faster than this are one: on a busy server something ends all the time.
const BREATH: Duration = Duration::from_millis(25);

/// What a pass and [`forward`] tell each other.
#[derive(Debug, Default)]
pub struct Attention {
    /// Something waits: the end of an execution is a reason to look.
    awaited: AtomicBool,
    /// Definitions may have changed.
    changed: AtomicBool,
}

impl Attention {
    /// Whether the end of an execution is a reason to look.
    pub(crate) fn expect(&self, awaited: bool) {
        self.awaited.store(awaited, Ordering::Relaxed);
    }

    /// Whether definitions may have changed since the last call.
    pub(crate) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// Definitions are to be looked at (again).
    pub(crate) fn set_changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }
}

/// Wakes the pass that listens to `target` when definitions may have changed and, while anything waits, when an execution
/// may have ended.
pub(crate) async fn forward(bus: Bus, target: Topic, attention: Arc<Attention>, shutdown: CancellationToken) {
    let (mut changes, mut definitions) = (bus.subscribe(Topic::Change), bus.subscribe(Topic::Definition));
    loop {
        tokio::select! {
            () = changes.woken() => {
                if attention.awaited.load(Ordering::Relaxed) {
                    bus.wake(target);
                }
            }
            () = definitions.woken() => {
                attention.set_changed();
                bus.wake(target);
            }
            () = shutdown.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(BREATH) => {}
            () = shutdown.cancelled() => return,
        }
    }
}
