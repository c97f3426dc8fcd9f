//! Views of packs and of what they define.

use attune_client::types::{
    ActionView, ConstraintsView, DeclaredArtifactView, GrantView, PackView, RuleView, SensorView,
    TriggerView, UsedKeyView, WebhookAddress, WebhookView,
};
use attune_common::models::action::{Action, UsedKey};
use attune_common::models::artifact::DeclaredArtifact;
use attune_common::models::identity::{Constraints, Grant, Ownership};
use attune_common::models::pack::Pack;
use attune_common::models::placement::Placement;
use attune_common::models::rule::Rule;
use attune_common::models::sensor::Sensor;
use attune_common::models::trigger::{SignatureScheme, Trigger, Webhook};

use super::Masks;
use super::mask::schema_view;

pub(crate) fn pack_view(pack: Pack) -> PackView {
    PackView {
        pack_ref: pack.r#ref,
        label: pack.label,
        description: pack.description,
        version: pack.version,
        author: pack.author,
        tags: pack.tags,
        dependencies: pack.dependencies,
        is_standard: pack.is_standard,
        source: pack.source,
        checksum: pack.checksum,
        created: pack.created,
        updated: pack.updated,
    }
}

pub(crate) fn grant_view(grant: Grant) -> GrantView {
    let Constraints { refs, packs, owner } = grant.constraints;
    let owner = owner.map(|Ownership::Own| "self".to_owned());
    let constraints = ConstraintsView { refs, packs, owner };
    GrantView { resource: grant.resource, actions: grant.actions, constraints }
}

/// An action. `placement` is its own.
pub(crate) fn action_view(action: Action, placement: Option<&Placement>) -> ActionView {
    let artifact = |declared: DeclaredArtifact| DeclaredArtifactView {
        name: declared.name,
        artifact_type: declared.artifact_type.as_str().to_owned(),
        description: declared.description,
        scope: declared.scope.as_str().to_owned(),
        keep_versions: declared.keep_versions,
        keep_days: declared.keep_days,
    };
    let key = |used: UsedKey| UsedKeyView { key_ref: used.key_ref, required: used.required };
    ActionView {
        keys: action.keys.into_iter().map(key).collect(),
        permissions: action.permissions.into_iter().map(grant_view).collect(),
        artifacts: action.artifacts.into_iter().map(artifact).collect(),
        action_ref: action.r#ref,
        pack: action.pack_ref,
        label: action.label,
        description: action.description,
        enabled: action.enabled,
        runtime: action.runtime_ref,
        entrypoint: action.entrypoint,
        parameters: schema_view(action.param_schema),
        out_schema: action.out_schema,
        parameter_delivery: action.parameter_delivery.as_str().to_owned(),
        parameter_format: action.parameter_format.as_str().to_owned(),
        output_format: action.output_format.as_str().to_owned(),
        timeout_seconds: action.timeout_seconds,
        on_worker_loss: action.on_worker_loss.as_str().to_owned(),
        retry: action.retry,
        isolation: action.isolation,
        worker_selector: placement.map(|placement| placement.selector.clone()).unwrap_or_default(),
        tolerations: placement.map(|placement| placement.tolerations.clone()).unwrap_or_default(),
        created: action.created,
        updated: action.updated,
    }
}

/// A trigger as lists show it: without the address of its webhook.
pub(crate) fn trigger_view(trigger: Trigger) -> TriggerView {
    TriggerView {
        trigger_ref: trigger.r#ref,
        pack: trigger.pack_ref,
        label: trigger.label,
        description: trigger.description,
        enabled: trigger.enabled,
        parameters: schema_view(trigger.param_schema),
        out_schema: trigger.out_schema,
        webhook: trigger.webhook.map(webhook_view),
        created: trigger.created,
        updated: trigger.updated,
    }
}

pub(crate) fn sensor_view(sensor: Sensor) -> SensorView {
    SensorView {
        sensor_ref: sensor.r#ref,
        pack: sensor.pack_ref,
        label: sensor.label,
        description: sensor.description,
        enabled: sensor.enabled,
        runtime: sensor.runtime_ref,
        entrypoint: sensor.entrypoint,
        triggers: sensor.trigger_refs,
        permissions: sensor.permissions.into_iter().map(grant_view).collect(),
        // What is disabled is not meant to run.
        obstacle: sensor.obstacle.filter(|_| sensor.enabled),
        created: sensor.created,
        updated: sensor.updated,
    }
}

/// A trigger for those who may read webhooks: with the address, which is all that a sender without a signature needs.
pub(crate) fn trigger_detail(trigger: Trigger) -> TriggerView {
    let path = trigger.webhook_key.as_deref().map(webhook_path);
    let view = trigger_view(trigger);
    TriggerView { webhook: view.webhook.map(|webhook| WebhookView { path, ..webhook }), ..view }
}

fn webhook_view(webhook: Webhook) -> WebhookView {
    let scheme = |scheme: SignatureScheme| match scheme {
        SignatureScheme::Github => "github",
        SignatureScheme::HmacSha256 => "hmac_sha256",
    };
    match webhook.signature {
        Some(signature) => WebhookView {
            path: None,
            signature: Some(scheme(signature.scheme).to_owned()),
            secret: Some(signature.secret),
        },
        None => WebhookView { path: None, signature: None, secret: None },
    }
}

/// Where a webhook key is listened to.
fn webhook_path(key: &str) -> String {
    format!("/api/v1/webhooks/{key}")
}

/// The address of a trigger's webhook, if it has one.
pub(crate) fn webhook_address(trigger: &Trigger) -> Option<WebhookAddress> {
    let key = trigger.webhook_key.as_deref()?;
    Some(WebhookAddress { trigger: trigger.r#ref.clone(), path: webhook_path(key) })
}

/// A rule. `actions` and `triggers` are the masks of what it refers to.
pub(crate) fn rule_view(rule: Rule, actions: &Masks, triggers: &Masks) -> RuleView {
    RuleView {
        trigger_params: triggers.get(&rule.trigger_ref).parameters(rule.trigger_params),
        action_params: actions.get(&rule.action_ref).rule_parameters(rule.action_params),
        rule_ref: rule.r#ref,
        pack: rule.pack_ref,
        label: rule.label,
        description: rule.description,
        enabled: rule.enabled,
        mode: rule.mode.as_str().to_owned(),
        trigger: rule.trigger_ref,
        condition: rule.condition.as_str().to_owned(),
        conditions: rule.conditions,
        window: rule.window,
        action: rule.action_ref,
        retry: rule.retry,
        config: rule.config,
        version: rule.version,
        created: rule.created,
        updated: rule.updated,
    }
}
