//! A process that is killed, as far as a future can be: it is dropped where it waits.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Runs the future until it has waited so many times, and drops it there. Its result, if it came to its end before.
pub(crate) async fn until<T>(waits: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = waits;
    poll_fn(|context| {
        if let Poll::Ready(done) = future.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        Poll::Pending
    })
    .await
}
