//! Proof from outside: what Attune does under faults ([`faults`]). The program `attune-bench` runs it at length, a test of
//! the command line runs it briefly.

pub mod archive;
pub mod faults;
