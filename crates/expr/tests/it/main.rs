//! Integration tests of the expression crate: its public interface, and the recorded cases of StackStorm.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "`check(json!(..), json!(..))` reads best without references"
)]

mod operators;
mod reach;
mod schemas;
mod templates;
mod vectors;
