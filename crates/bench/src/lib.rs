//! What tests use of the benchmark: what Attune does under faults ([`faults`]), which the program `attune-bench` runs at length
//! and a test of the command line briefly, and a store with a long history ([`fill`]).

pub mod archive;
pub mod faults;
pub mod fill;
