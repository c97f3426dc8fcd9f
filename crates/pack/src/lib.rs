//! Pack files to models: parsing with source positions and checking with suggestions.
//!
//! [`read`] takes the files of a pack as they lie in its directory and gives either a [`PackDefinition`] or every
//! [`Finding`] in all of its files at once, each with file, line, column and, where a slip of the pen is likely, the
//! spelling that was meant. [`read_rule`] does the same for one rule file by itself.
//!
//! Invariants: nothing here does I/O or reads a clock, so that a pack can be checked where no server is; a key that is
//! not known and a setting that would have no effect are findings, never ignored; a definition is only given when there
//! is no finding. What only an installation can know, such as whether an action of another pack exists, is left to the
//! installer, for which refs that point elsewhere are [`Located`].
//!
//! Where things are: `yaml` turns text into a tree of nodes with positions, `reader` takes typed values from that tree,
//! `read` has the form of each kind of file (`form`), made of kinds of values (`value`), and reads by it; `definition` is
//! the result, and `schema` the form as JSON Schema.

pub mod archive;
pub mod bundle;
mod case;
mod checksum;
pub mod config;
mod definition;
mod duration;
mod finding;
mod form;
pub mod index;
pub mod isolation;
pub mod limits;
mod lines;
pub mod placement;
mod read;
mod reader;
mod reference;
mod retry;
mod schema;
mod value;
mod version;
mod yaml;

use std::collections::BTreeMap;

pub use case::{
    ActionCase, CaseSubject, Expectation, ExpectedCommand, ExpectedRequest, HttpAnswer, HttpBody, RuleCase,
    SampleEvent, SshAnswer, TestCase, TestFile,
};
pub use definition::{
    ActionDefinition, ArtifactDefinition, ArtifactScope, ArtifactType, ConstraintsDefinition,
    GrantDefinition, KeyDefinition, Manifest, OnWorkerLoss, OutputFormat, PackDefinition, ParameterDelivery,
    ParameterFormat, PermissionSetDefinition, PolicyDefinition, PolicyMethod, QueueDefinition,
    RateDefinition, RuleEntry, RuleMode, RuntimeDefinition, RuntimeLanguage, SensorDefinition,
    SignatureScheme, TriggerDefinition, UsedKeyDefinition, WebhookDefinition, WebhookSignature,
};
pub use duration::parse as parse_duration;
pub use finding::{End, Finding, Located};
pub use read::{Fault, finding_at, read, read_knowing, read_manifest, read_rule, read_rule_in};
pub use retry::{Retry, RetryProblem};
pub use schema::FileKind;
pub use version::{CONSTRAINT_FORM, ConstraintError, InterpreterVersion, VersionConstraint};

/// The files of a pack under their paths relative to the pack, with `/` between the parts.
pub type PackFiles = BTreeMap<String, PackFile>;

/// A file of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFile {
    /// The bytes of the file.
    pub content: Vec<u8>,
    /// Whether its owner may execute it.
    pub executable: bool,
}
