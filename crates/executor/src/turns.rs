//! Passes that work side by side: what was taken first is recorded first.

use tokio::sync::{Mutex, MutexGuard, oneshot};

/// The order of passes that share it.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Tells when the turn that was given last is over.
    last: Mutex<Option<oneshot::Receiver<()>>>,
}

/// The right to take something, for one pass at a time.
#[derive(Debug)]
pub(crate) struct Taking<'t>(MutexGuard<'t, Option<oneshot::Receiver<()>>>);

/// A place in the order, over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'t> {
    before: Option<oneshot::Receiver<()>>,
    _over: oneshot::Sender<()>,
    _alone: Option<MutexGuard<'t, Option<oneshot::Receiver<()>>>>,
}

impl Turns {
    pub(crate) async fn taking(&self) -> Taking<'_> {
        Taking(self.last.lock().await)
    }
}

impl<'t> Taking<'t> {
    /// The place of what was taken. With `alone`, nobody takes anything before the turn is over.
    pub(crate) fn turn(mut self, Alone(alone): Alone) -> Turn<'t> {
        let (over, last) = oneshot::channel();
        Turn { before: self.0.replace(last), _over: over, _alone: alone.then_some(self.0) }
    }
}

/// Whether nobody may take anything during a turn: what is left could not be taken in its order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alone(pub(crate) bool);

impl Turn<'_> {
    /// Waits until the turn before this one is over, however it ended.
    pub(crate) async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            // What is dropped is over.
            let _ = before.await;
        }
    }

    /// Gives the turn up without waiting for it: it is over when the one before it is.
    pub(crate) fn pass_on(self) {
        if let Some(before) = self.before {
            tokio::spawn(async move {
                let _ = before.await;
                drop(self._over);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What it gives without waiting.
    fn at_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn take(turns: &Turns) -> Turn<'_> {
        at_once(pin!(turns.taking())).expect("nobody takes").turn(Alone(false))
    }

    #[test]
    fn test_turns_come_in_the_order_of_taking() {
        let turns = Turns::default();
        let taking = at_once(pin!(turns.taking())).expect("nobody takes");
        assert!(at_once(pin!(turns.taking())).is_none(), "one takes at a time");
        let mut first = taking.turn(Alone(false));
        let (mut second, mut third) = (take(&turns), take(&turns));
        at_once(pin!(first.come())).expect("nobody is before it");
        {
            let mut waiting = pin!(third.come());
            assert!(at_once(waiting.as_mut()).is_none());
            drop(first);
            assert!(at_once(waiting.as_mut()).is_none(), "the second one is not over");
            at_once(pin!(second.come())).expect("the first one is over");
            drop(second);
            at_once(waiting.as_mut()).expect("the second one is over");
        }
        // One that took nothing has no turn.
        drop(at_once(pin!(turns.taking())).expect("nobody takes"));
        drop(third);
        at_once(pin!(take(&turns).come())).expect("all are over");
    }

    #[tokio::test]
    async fn test_a_turn_that_is_passed_on_is_over_after_the_one_before_it() {
        let turns = Turns::default();
        let (first, second, mut third) = (take(&turns), take(&turns), take(&turns));
        second.pass_on();
        tokio::task::yield_now().await;
        {
            let mut waiting = pin!(third.come());
            assert!(at_once(waiting.as_mut()).is_none(), "the first one is not over");
            drop(first);
            waiting.await;
        }
        drop(third);
        take(&turns).pass_on();
        take(&turns).come().await;
    }

    #[test]
    fn test_nobody_takes_anything_during_a_turn_alone() {
        let turns = Turns::default();
        let alone = at_once(pin!(turns.taking())).expect("nobody takes").turn(Alone(true));
        assert!(at_once(pin!(turns.taking())).is_none());
        drop(alone);
        at_once(pin!(take(&turns).come())).expect("all are over");
    }
}
