//! What a pack's files say, as what is stored.

use std::collections::BTreeMap;

use attune_common::error::StoreError;
use attune_common::models::action::{
    NewAction, OutputFormat, ParameterDelivery, ParameterFormat, UsedKey, WorkerLoss,
};
use attune_common::models::artifact::{ArtifactScope, ArtifactType, DeclaredArtifact};
use attune_common::models::enforcement::ConditionMode;
use attune_common::models::identity::{Constraints, Grant, NewPermissionSet, Ownership};
use attune_common::models::pack::{DeclaredKey, NewPack};
use attune_common::models::policy::{NewPolicy, PolicyMethod};
use attune_common::models::rule::{NewRule, RuleMode};
use attune_common::models::runtime::NewRuntime;
use attune_common::models::sensor::NewSensor;
use attune_common::models::trigger::{NewTrigger, SignatureScheme, Webhook, WebhookSignature};
use attune_common::models::work_queue::NewWorkQueue;
use attune_pack as source;
use attune_pack::config::is_secret_ref;
use serde_json::{Map, Value};

use super::{Candidate, InstallOptions};

pub(super) fn pack(candidate: &Candidate, options: InstallOptions) -> NewPack {
    let manifest = &candidate.definition.manifest;
    let dependencies = manifest.dependencies.iter();
    NewPack {
        r#ref: manifest.r#ref.clone(),
        label: manifest.label.clone().unwrap_or_else(|| manifest.r#ref.clone()),
        description: manifest.description.clone(),
        version: manifest.version.to_string(),
        author: manifest.author.clone(),
        email: manifest.email.clone(),
        meta: Some(Value::Object(manifest.meta.clone())),
        tags: manifest.tags.clone(),
        runtime_deps: manifest
            .interpreters
            .iter()
            .map(|(language, versions)| format!("{} {versions}", language.as_str()))
            .collect(),
        is_standard: options.is_standard,
        dependencies: dependencies.map(|(name, range)| (name.clone(), range.value.to_string())).collect(),
        conf_schema: Some(manifest.config_schema.clone()).filter(Value::is_object),
        environment_config: Some(Value::Object(candidate.environment.clone())),
        declared_keys: needed_keys(&candidate.definition),
        source: candidate.source.clone(),
        checksum: Some(candidate.definition.checksum.clone()),
    }
}

/// The keys that a pack needs: those that its files declare, and those that only its actions name. A key of a setting is set with
/// that.
pub(super) fn needed_keys(definition: &source::PackDefinition) -> Vec<DeclaredKey> {
    let mut named: BTreeMap<&str, (bool, Vec<&str>)> = BTreeMap::new();
    for action in &definition.actions {
        for key in &action.keys {
            let (required, actions) = named.entry(&key.r#ref.value).or_default();
            *required |= key.required;
            actions.push(&action.r#ref);
        }
    }
    named.retain(|key_ref, _| {
        !is_secret_ref(key_ref) && definition.keys.iter().all(|declared| declared.r#ref != *key_ref)
    });
    let by_actions = named.into_iter().map(|(key_ref, (required, actions))| DeclaredKey {
        r#ref: key_ref.to_owned(),
        label: None,
        description: Some(format!("named by {}", actions.join(", "))),
        required,
        secret: true,
        default: None,
        only_named: true,
    });
    definition.keys.iter().map(declared_key).chain(by_actions).collect()
}

pub(super) fn declared_key(key: &source::KeyDefinition) -> DeclaredKey {
    DeclaredKey {
        r#ref: key.r#ref.clone(),
        label: key.label.clone(),
        description: key.description.clone(),
        required: key.required,
        secret: key.secret,
        default: key.default.clone(),
        only_named: false,
    }
}

pub(super) fn runtime(runtime: &source::RuntimeDefinition) -> NewRuntime {
    NewRuntime {
        r#ref: runtime.r#ref.clone(),
        label: runtime.label.clone(),
        description: runtime.description.clone(),
        interpreter: runtime.interpreter.clone(),
        native: runtime.native,
        environment: runtime.environment.map(|language| language.as_str().to_owned()),
        version: runtime.version.as_ref().map(ToString::to_string),
    }
}

pub(super) fn action(action: &source::ActionDefinition, placement: i64) -> NewAction {
    NewAction {
        r#ref: action.r#ref.clone(),
        label: action.label.clone(),
        description: action.description.clone(),
        enabled: action.enabled,
        runtime_ref: action.runtime.value.clone(),
        entrypoint: action.entrypoint.clone(),
        param_schema: action.parameters.clone(),
        out_schema: action.out_schema.clone(),
        parameter_delivery: match action.parameter_delivery {
            source::ParameterDelivery::Stdin => ParameterDelivery::Stdin,
            source::ParameterDelivery::Env => ParameterDelivery::Env,
            source::ParameterDelivery::File => ParameterDelivery::File,
        },
        parameter_format: match action.parameter_format {
            source::ParameterFormat::Json => ParameterFormat::Json,
            source::ParameterFormat::Yaml => ParameterFormat::Yaml,
            source::ParameterFormat::Dotenv => ParameterFormat::Dotenv,
        },
        output_format: match action.output_format {
            source::OutputFormat::Text => OutputFormat::Text,
            source::OutputFormat::Json => OutputFormat::Json,
            source::OutputFormat::Yaml => OutputFormat::Yaml,
            source::OutputFormat::Jsonl => OutputFormat::Jsonl,
        },
        timeout_seconds: action.timeout.as_secs_f64(),
        on_worker_loss: match action.on_worker_loss {
            source::OnWorkerLoss::Abandon => WorkerLoss::Abandon,
            source::OnWorkerLoss::Retry => WorkerLoss::Retry,
        },
        retry: action.retry.as_ref().map_or_else(|| Value::Object(Map::new()), source::Retry::stored),
        // Texts and numbers: there is nothing in it that JSON could not hold.
        isolation: serde_json::to_value(&action.isolation).unwrap_or_default(),
        placement,
        permissions: action.permissions.iter().map(grant).collect(),
        artifacts: action.artifacts.iter().map(artifact).collect(),
        keys: action.keys.iter().map(used_key).collect(),
    }
}

pub(super) fn grant(grant: &source::GrantDefinition) -> Grant {
    Grant {
        resource: grant.resource.value.clone(),
        actions: grant.actions.iter().map(|action| action.value.clone()).collect(),
        constraints: constraints(&grant.constraints),
    }
}

/// What a grant is limited to.
pub(crate) fn constraints(constraints: &source::ConstraintsDefinition) -> Constraints {
    Constraints {
        refs: constraints.refs.clone(),
        packs: constraints.packs.clone(),
        owner: constraints.own.then_some(Ownership::Own),
    }
}

fn used_key(key: &source::UsedKeyDefinition) -> UsedKey {
    UsedKey { key_ref: key.r#ref.value.clone(), required: key.required }
}

fn artifact(artifact: &source::ArtifactDefinition) -> DeclaredArtifact {
    DeclaredArtifact {
        name: artifact.name.clone(),
        artifact_type: match artifact.artifact_type {
            source::ArtifactType::File => ArtifactType::File,
            source::ArtifactType::Table => ArtifactType::Table,
            source::ArtifactType::Link => ArtifactType::Link,
        },
        description: artifact.description.clone(),
        scope: match artifact.scope {
            source::ArtifactScope::Action => ArtifactScope::Action,
            source::ArtifactScope::Execution => ArtifactScope::Execution,
        },
        keep_versions: artifact.keep_versions.map(whole),
        keep_days: artifact.keep_days.map(whole),
    }
}

pub(super) fn trigger(trigger: &source::TriggerDefinition) -> NewTrigger {
    NewTrigger {
        r#ref: trigger.r#ref.clone(),
        label: trigger.label.clone(),
        description: trigger.description.clone(),
        enabled: trigger.enabled,
        param_schema: trigger.parameters.clone(),
        out_schema: trigger.out_schema.clone(),
        webhook: trigger.webhook.as_ref().map(webhook),
    }
}

fn webhook(webhook: &source::WebhookDefinition) -> Webhook {
    let signature = webhook.signature.as_ref().map(|signature| WebhookSignature {
        scheme: match signature.scheme {
            source::SignatureScheme::Github => SignatureScheme::Github,
            source::SignatureScheme::HmacSha256 => SignatureScheme::HmacSha256,
        },
        secret: signature.secret.value.clone(),
        header: signature.header.clone(),
    });
    Webhook { signature, delivery_id_header: webhook.delivery_id_header.clone() }
}

pub(super) fn sensor(sensor: &source::SensorDefinition) -> NewSensor {
    NewSensor {
        r#ref: sensor.r#ref.clone(),
        label: sensor.label.clone(),
        description: sensor.description.clone(),
        enabled: sensor.enabled,
        runtime_ref: sensor.runtime.value.clone(),
        entrypoint: sensor.entrypoint.clone(),
        trigger_refs: sensor.triggers.iter().map(|trigger| trigger.value.clone()).collect(),
        config: Value::Object(sensor.config.clone()),
        permissions: sensor.permissions.iter().map(grant).collect(),
    }
}

pub(super) fn permission_set(set: &source::PermissionSetDefinition) -> NewPermissionSet {
    NewPermissionSet {
        r#ref: set.r#ref.clone(),
        label: set.label.clone(),
        description: set.description.clone(),
        grants: set.grants.iter().map(grant).collect(),
    }
}

pub(super) fn rule(rule: &source::RuleEntry) -> Result<NewRule, StoreError> {
    let definition = &rule.definition;
    // Conditions came from YAML or JSON and go back to JSON.
    let conditions = serde_json::to_value(&definition.conditions)
        .map_err(|error| StoreError::Unstorable(format!("conditions of {}: {error}", definition.rule_ref)))?;
    Ok(NewRule {
        r#ref: definition.rule_ref.clone(),
        label: rule.label.clone(),
        description: rule.description.clone(),
        enabled: rule.enabled,
        mode: match rule.mode {
            source::RuleMode::Active => RuleMode::Active,
            source::RuleMode::Shadow => RuleMode::Shadow,
        },
        trigger_ref: definition.trigger_ref.clone(),
        trigger_params: definition.trigger_params.clone(),
        condition: condition_mode(definition.condition),
        conditions,
        action_ref: definition.action_ref.clone(),
        action_params: definition.action_params.clone(),
        window: definition.window.as_ref().map(attune_rules::Window::to_value),
        retry: rule.retry.as_ref().map(source::Retry::stored),
        // What the pack has of them is known when it is stored.
        config: None,
    })
}

fn condition_mode(mode: attune_rules::ConditionMode) -> ConditionMode {
    match mode {
        attune_rules::ConditionMode::All => ConditionMode::All,
        attune_rules::ConditionMode::Any => ConditionMode::Any,
    }
}

pub(super) fn policy(policy: &source::PolicyDefinition) -> NewPolicy {
    NewPolicy {
        r#ref: policy.r#ref.clone(),
        action_ref: policy.action.as_ref().map(|action| action.value.clone()),
        enabled: policy.enabled,
        concurrency: policy.concurrency.map(whole),
        parameters: policy.parameters.clone(),
        rate_count: policy.rate.map(|rate| whole(rate.count)),
        rate_seconds: policy.rate.map(|rate| rate.period.as_secs_f64()),
        method: match policy.method {
            source::PolicyMethod::Enqueue => PolicyMethod::Enqueue,
            source::PolicyMethod::Cancel => PolicyMethod::Cancel,
        },
    }
}

pub(super) fn queue(queue: &source::QueueDefinition) -> NewWorkQueue {
    NewWorkQueue {
        r#ref: queue.r#ref.clone(),
        label: queue.label.clone(),
        description: queue.description.clone(),
        enabled: queue.enabled,
        action_ref: queue.action.value.clone(),
        item_schema: queue.item_schema.clone(),
        batch_size: whole(queue.batch_size),
        concurrency: whole(queue.concurrency),
        max_attempts: whole(queue.max_attempts),
        retry_seconds: queue.retry_delay.as_secs_f64(),
    }
}

/// A number that the reader of packs keeps within what is stored.
fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
