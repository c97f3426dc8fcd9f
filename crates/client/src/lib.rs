//! What the HTTP API speaks ([`types`]) and the client that speaks it ([`Client`]); used by the command line, the
//! benchmark and the tests.

mod client;
mod download;
pub mod types;

pub use client::{ArtifactBody, Client, ClientError, FollowOptions, InstallWishes, OutputEvent};
pub use download::{DownloadError, download};
