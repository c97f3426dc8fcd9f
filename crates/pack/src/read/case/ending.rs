//! How an execution of a case ends.

use attune_expr::form;
use attune_expr::form::{Described, Form};
use serde_json::Value;

use crate::case::{Expectation, ExpectedCommand, ExpectedRequest};
use crate::definition::named_values;
use crate::form::{FileForm, Readable};
use crate::reader::{Item, MappingReader};
use crate::value::{Anything, Text};

use super::outside::Message;

named_values! {
    /// An end that an execution of a test can have.
    EndStatus {
        /// It ended well.
        Completed = "completed",
        /// It failed.
        Failed = "failed",
        /// It took too long.
        Timeout = "timeout",
    }
}

form! {
    /// How an execution ends. What is not named is not compared.
    struct ExpectationForm<'f> of MappingReader<'f> {
        /// `completed` unless said.
        optional status: EndStatus,
        /// The whole result.
        optional result: Anything,
        /// What the result has at least.
        optional result_has: Anything,
        /// Part of the error.
        optional error: Text,
        /// Part of the standard output.
        optional stdout: Text,
        /// Part of the standard error.
        optional stderr: Text,
        /// The requests of `core.http`, in their order.
        optional requests: Vec<ExpectedRequest>,
        /// The commands of `core.ssh`, in their order.
        optional commands: Vec<ExpectedCommand>,
        /// The messages of `core.mail`, in their order; what each has at least.
        optional mail: Vec<Message>,
    }
}

impl Described for Expectation {
    fn schema() -> Value {
        ExpectationForm::shape().schema()
    }
}

impl Readable for Expectation {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = ExpectationForm::of(item)?;
        let status = if form.status.is_given() { form.status.read() } else { Some(EndStatus::Completed) };
        let (result, result_has) = (form.result.read(), form.result_has.read());
        if result.is_some() {
            form.result_has.without_effect("beside `result`, which says all of it");
        }
        let error = form.error.read();
        if status == Some(EndStatus::Completed) {
            form.error.without_effect("with the status `completed`");
        }
        Some(Self {
            status: status?.as_str().to_owned(),
            result,
            result_has,
            error,
            stdout: form.stdout.read(),
            stderr: form.stderr.read(),
            requests: form.requests.read(),
            commands: form.commands.read(),
            mail: form.mail.read(),
        })
    }
}
