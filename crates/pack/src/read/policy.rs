//! `policies/*.yaml`.

use attune_expr::form;
use attune_expr::form::{Described, Form};
use serde_json::Value;

use crate::definition::{PolicyDefinition, PolicyMethod, RateDefinition};
use crate::form::{Distinct, FileForm, Readable};
use crate::reader::{Item, MappingReader};
use crate::value::{ComponentRef, Flag, Many, Period, Text};

use super::common::RefForm;
use super::{Kind, Place};

form! {
    /// A policy: a limit on runs. `concurrency`, `rate` or both.
    pub(crate) struct PolicyForm<'f> of MappingReader<'f> {
        with named: RefForm<'f>,
        /// Whether it limits anything.
        optional enabled: Flag<true>,
        /// The action that is limited; without it every action of the pack.
        optional action: ComponentRef,
        /// How many may run at once.
        optional concurrency: Many,
        /// Parameters whose values the concurrency is counted by, each combination for itself.
        optional parameters: Distinct<Text>,
        /// How many may start in a period.
        optional rate: RateDefinition,
        /// What becomes of what is more; `enqueue` unless said.
        optional method: PolicyMethod,
    }
}

form! {
    /// So many starts in a period.
    struct RateForm<'f> of MappingReader<'f> {
        /// How many.
        required count: Many,
        /// In how long.
        required period: Period,
    }
}

pub(super) fn read(item: &Item<'_>, place: &Place<'_>) -> Option<PolicyDefinition> {
    let form = PolicyForm::of(item)?;
    let policy_ref = form.named.read(place.pack_ref);
    let enabled = form.enabled.is_on();
    let action = form.action.known(place.known(Kind::Action));
    let concurrency = form.concurrency.read();
    let text = |item: &Item<'_>| Some(item.located(item.text()?.to_owned()));
    let expected = "the parameters to count by, or the key left out";
    let parameters = form.parameters.distinct(expected, "parameter", text).unwrap_or_default();
    let rate = form.rate.read();
    let method = form.method.read();
    if form.concurrency.item().is_none() && form.rate.item().is_none() {
        let finding = item.finding("the policy limits nothing");
        item.add(finding.expected("`concurrency`, `rate`, or both"));
    }
    if form.concurrency.item().is_none() {
        form.parameters.without_effect("without `concurrency`, which is counted by them");
    }
    // A scope that cannot be read must not become that of the whole pack.
    if form.action.is_given() && action.is_none() {
        return None;
    }
    Some(PolicyDefinition {
        r#ref: policy_ref?,
        enabled,
        action,
        concurrency,
        parameters: parameters.into_iter().map(|parameter| parameter.value).collect(),
        rate,
        method: method.unwrap_or(PolicyMethod::Enqueue),
    })
}

impl Described for RateDefinition {
    fn schema() -> Value {
        RateForm::shape().schema()
    }
}

impl Readable for RateDefinition {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = RateForm::of(item)?;
        let (count, period) = (form.count.read(), form.period.read());
        Some(Self { count: count?, period: period? })
    }
}
