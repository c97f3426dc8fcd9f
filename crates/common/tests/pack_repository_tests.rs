//! The pack repository: `attune.pack` and `attune.pack_file`.

mod helpers;

use std::collections::BTreeMap;

use attune_common::models::pack::{DeclaredKey, Dependent, NewPack, Pack, PackFile, PackUpdate};
use attune_common::repositories::{
    ActionRepository, LIST_LIMIT, PackRepository, RuleRepository, RuntimeRepository, SensorRepository,
    TriggerRepository,
};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::policy::PolicyFixture;
use helpers::steps::rule_set;
use helpers::*;
use serde_json::json;

const CHECKSUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn full(pack_ref: &str) -> NewPack {
    NewPack {
        r#ref: pack_ref.to_owned(),
        label: "Operations".to_owned(),
        description: Some("What operators need".to_owned()),
        version: "1.2.3-rc.1+build.5".to_owned(),
        author: Some("A. Author".to_owned()),
        email: Some("author@example.org".to_owned()),
        meta: Some(json!({"team": "sre"})),
        tags: vec!["ops".to_owned(), "disk".to_owned()],
        runtime_deps: vec!["python >=3.11".to_owned()],
        dependencies: BTreeMap::from([("linux".to_owned(), ">=1.2".to_owned())]),
        declared_keys: vec![DeclaredKey {
            r#ref: format!("{pack_ref}.token"),
            label: None,
            description: Some("Of the pager".to_owned()),
            required: true,
            secret: false,
            default: Some("80".to_owned()),
            only_named: false,
        }],
        conf_schema: Some(json!({"properties": {"port": {"type": "integer"}}})),
        environment_config: Some(json!({"port": 443})),
        is_standard: true,
        source: Some("/srv/packs/ops".to_owned()),
        checksum: Some(CHECKSUM.to_owned()),
    }
}

fn expected(row: &Pack, new: NewPack) -> Pack {
    Pack {
        id: row.id,
        r#ref: new.r#ref,
        label: new.label,
        description: new.description,
        version: new.version,
        author: new.author,
        email: new.email,
        conf_schema: new.conf_schema.unwrap_or(json!({})),
        config: json!({}),
        environment_config: new.environment_config.unwrap_or(json!({})),
        meta: new.meta.unwrap_or(json!({})),
        tags: new.tags,
        runtime_deps: new.runtime_deps,
        dependencies: new.dependencies,
        declared_keys: new.declared_keys,
        is_standard: new.is_standard,
        source: new.source,
        checksum: new.checksum,
        created: row.created,
        updated: row.updated,
    }
}

fn file(path: &str, content: &[u8], executable: bool) -> PackFile {
    PackFile { path: path.to_owned(), content: content.to_vec(), executable }
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(PackRepository::table_name(), "attune.pack");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let fixture = PackFixture::new_unique();
    let pack = fixture.clone().create(&mut tx).await.unwrap();
    assert_eq!(pack, expected(&pack, fixture.new));
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let new = full(&unique_pack_ref());
    let pack = PackRepository::create(&mut *tx, &new).await.unwrap();
    assert_eq!(pack, expected(&pack, new));
}

#[tokio::test]
async fn test_create_ref_taken() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let again = PackFixture::new(&pack.r#ref).create(&mut tx).await;
    assert_already_exists(again, "pack", "ref", &pack.r#ref);
}

#[tokio::test]
async fn test_create_invalid_refs() {
    for pack_ref in ["", "x", "Ops", "1ops", "ops.disk", "öps", "ops\n"] {
        let mut tx = transaction().await;
        let created = PackFixture::new(pack_ref).create(&mut tx).await;
        assert_invalid_value(created, "pack", "pack_ref_format");
    }
}

#[tokio::test]
async fn test_create_invalid_versions() {
    for version in ["", "1", "1.0", "v1.0.0", "1.0.0-", "1.0.0.0"] {
        let mut tx = transaction().await;
        let created = PackFixture::new_unique().with_version(version).create(&mut tx).await;
        assert_invalid_value(created, "pack", "pack_version_semver");
    }
}

#[tokio::test]
async fn test_create_invalid_checksum() {
    let mut tx = transaction().await;
    let upper_case = CHECKSUM.to_uppercase();
    let created = PackFixture::new_unique().with_checksum(&upper_case).create(&mut tx).await;
    assert_invalid_value(created, "pack", "pack_checksum_format");
}

#[tokio::test]
async fn test_declaring_secret() {
    let mut tx = transaction().await;
    let pack_ref = unique_pack_ref();
    let mut new = full(&pack_ref);
    let declared = new.declared_keys.remove(0);
    let key = |name: &str, secret, only_named| DeclaredKey {
        r#ref: format!("{pack_ref}.{name}"),
        secret,
        only_named,
        default: None,
        ..declared.clone()
    };
    new.declared_keys = vec![key("level", false, false), key("token", true, false), key("other", true, true)];
    PackRepository::create(&mut *tx, &new).await.unwrap();
    for (name, expected) in
        [("token", Some(pack_ref.clone())), ("level", None), ("other", None), ("none", None)]
    {
        let key_ref = format!("{pack_ref}.{name}");
        assert_eq!(PackRepository::declaring_secret(&mut *tx, &key_ref).await.unwrap(), expected, "{name}");
    }
}

#[tokio::test]
async fn test_put_makes_a_pack() {
    let mut tx = transaction().await;
    let new = full(&unique_pack_ref());
    let pack = PackRepository::put(&mut *tx, &new).await.unwrap();
    assert_eq!(pack, expected(&pack, new));
}

#[tokio::test]
async fn test_put_keeps_id_and_configuration() {
    let mut tx = transaction().await;
    let before = PackRepository::create(&mut *tx, &full(&unique_pack_ref())).await.unwrap();
    let update = PackUpdate { config: Some(json!({"region": "eu"})), ..PackUpdate::default() };
    PackRepository::update(&mut tx, before.id, &update).await.unwrap();
    // What the new definition leaves out is gone.
    let new = PackFixture::new(&before.r#ref).with_version("2.0.0").new;
    let after = PackRepository::put(&mut *tx, &new).await.unwrap();
    assert_eq!((after.id, after.created), (before.id, before.created));
    assert_eq!(after, Pack { config: json!({"region": "eu"}), ..expected(&after, new) });
    assert_eq!(PackRepository::list(&mut *tx).await.unwrap(), [after]);
}

#[tokio::test]
async fn test_find_by_id_exists() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    PackFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(PackRepository::find_by_id(&mut *tx, pack.id).await.unwrap(), Some(pack));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(PackRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(PackRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "pack", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_find_by_ref_exists() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    PackFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(PackRepository::find_by_ref(&mut *tx, &pack.r#ref).await.unwrap(), Some(pack));
}

#[tokio::test]
async fn test_find_by_ref_not_found() {
    let mut tx = transaction().await;
    assert_eq!(PackRepository::find_by_ref(&mut *tx, "no_such_pack").await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_ref_not_found() {
    let mut tx = transaction().await;
    let got = PackRepository::get_by_ref(&mut *tx, "no_such_pack").await;
    assert_not_found(got, "pack", "no_such_pack");
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(PackRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    let prefix = unique_pack_ref();
    let second = PackFixture::new(&format!("{prefix}_b")).create(&mut tx).await.unwrap();
    let first = PackFixture::new(&format!("{prefix}_a")).create(&mut tx).await.unwrap();
    assert_eq!(PackRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_update_everything() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let update = PackUpdate {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        version: Some("1.0.1".to_owned()),
        author: Some("Anna".to_owned()),
        email: Some("anna@example.org".to_owned()),
        conf_schema: Some(json!({"type": "object"})),
        config: Some(json!({"a": 1})),
        meta: Some(json!({"b": 2})),
        tags: Some(vec!["x".to_owned()]),
        unchanged_since: Some(pack.updated),
    };
    let updated = PackRepository::update(&mut tx, pack.id, &update).await.unwrap();
    assert!(updated.updated > pack.updated);
    let expected = Pack {
        label: "New".to_owned(),
        description: Some("Newer".to_owned()),
        version: "1.0.1".to_owned(),
        author: Some("Anna".to_owned()),
        email: Some("anna@example.org".to_owned()),
        conf_schema: json!({"type": "object"}),
        config: json!({"a": 1}),
        meta: json!({"b": 2}),
        tags: vec!["x".to_owned()],
        updated: updated.updated,
        ..pack
    };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_one_column_keeps_the_others() {
    let mut tx = transaction().await;
    let pack = PackRepository::create(&mut *tx, &full(&unique_pack_ref())).await.unwrap();
    let update = PackUpdate { label: Some("New".to_owned()), ..PackUpdate::default() };
    let updated = PackRepository::update(&mut tx, pack.id, &update).await.unwrap();
    assert_eq!(updated, Pack { label: "New".to_owned(), updated: updated.updated, ..pack });
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let updated = PackRepository::update(&mut tx, pack.id, &PackUpdate::default()).await.unwrap();
    assert_eq!(updated, pack);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = PackUpdate { label: Some("New".to_owned()), ..PackUpdate::default() };
    assert_not_found(PackRepository::update(&mut tx, NO_SUCH_ID, &update).await, "pack", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_update_invalid_version() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let update = PackUpdate { version: Some("latest".to_owned()), ..PackUpdate::default() };
    let updated = PackRepository::update(&mut tx, pack.id, &update).await;
    assert_invalid_value(updated, "pack", "pack_version_semver");
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!PackRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}

#[tokio::test]
async fn test_delete_takes_what_the_pack_owns() {
    let mut tx = transaction().await;
    let kept = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let kept_action = ActionFixture::new_unique().with_pack(&kept, "run").create(&mut tx).await.unwrap();
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    RuntimeFixture::new(&pack, "shell").create(&mut tx).await.unwrap();
    ActionFixture::new_unique().with_pack(&pack, "run").create(&mut tx).await.unwrap();
    TriggerFixture::new_unique().with_pack(&pack, "alert").create(&mut tx).await.unwrap();
    SensorFixture::new(&pack, "watcher").create(&mut tx).await.unwrap();
    RuleFixture::new_unique().with_pack(&pack, "page").create(&mut tx).await.unwrap();
    PermissionSetFixture::new(&pack, "viewer").create(&mut tx).await.unwrap();
    PackRepository::replace_files(&mut tx, pack.id, &[file("pack.yaml", b"ref: x", false)]).await.unwrap();

    assert!(PackRepository::delete(&mut *tx, pack.id).await.unwrap());
    assert_eq!(PackRepository::list(&mut *tx).await.unwrap(), [kept]);
    assert_eq!(RuntimeRepository::list(&mut *tx).await.unwrap(), []);
    assert_eq!(ActionRepository::list(&mut *tx).await.unwrap(), [kept_action]);
    assert_eq!(TriggerRepository::list(&mut *tx).await.unwrap(), []);
    assert_eq!(SensorRepository::list(&mut *tx).await.unwrap(), []);
    assert_eq!(RuleRepository::list(&mut *tx).await.unwrap(), []);
    assert_not_found(PackRepository::files(&mut tx, pack.id).await, "pack", &pack.id);
}

#[tokio::test]
async fn test_files_of_a_pack_without_files() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(PackRepository::files(&mut tx, pack.id).await.unwrap(), (None, vec![]));
}

#[tokio::test]
async fn test_files_not_found() {
    let mut tx = transaction().await;
    assert_not_found(PackRepository::files(&mut tx, NO_SUCH_ID).await, "pack", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_files_are_bytes_by_path_with_the_checksum() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().with_checksum(CHECKSUM).create(&mut tx).await.unwrap();
    let run = file("actions/run.sh", b"#!/bin/sh\n", true);
    let picture = file("icon.png", &[0x89, 0x50, 0x00, 0xff], false);
    let empty = file("lib/__init__.py", b"", false);
    let given = [picture.clone(), empty.clone(), run.clone()];
    PackRepository::replace_files(&mut tx, pack.id, &given).await.unwrap();
    let (checksum, files) = PackRepository::files(&mut tx, pack.id).await.unwrap();
    assert_eq!((checksum.as_deref(), files), (Some(CHECKSUM), vec![run, picture, empty]));
}

#[tokio::test]
async fn test_replace_files_leaves_no_old_file() {
    let mut tx = transaction().await;
    let other = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let others = [file("a", b"other", false)];
    PackRepository::replace_files(&mut tx, other.id, &others).await.unwrap();
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let old = [file("a", b"1", false), file("b", b"2", false)];
    PackRepository::replace_files(&mut tx, pack.id, &old).await.unwrap();
    let new = [file("a", b"3", true)];
    PackRepository::replace_files(&mut tx, pack.id, &new).await.unwrap();
    assert_eq!(PackRepository::files(&mut tx, pack.id).await.unwrap().1, new);
    assert_eq!(PackRepository::files(&mut tx, other.id).await.unwrap().1, others);
    PackRepository::replace_files(&mut tx, pack.id, &[]).await.unwrap();
    assert_eq!(PackRepository::files(&mut tx, pack.id).await.unwrap().1, []);
}

#[tokio::test]
async fn test_replace_files_never_leads_out_of_the_pack() {
    for path in ["", "/etc/passwd", "..", "../x", "a/../../x", "a/.."] {
        let mut tx = transaction().await;
        let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
        let stored = PackRepository::replace_files(&mut tx, pack.id, &[file(path, b"", false)]).await;
        assert_invalid_value(stored, "pack_file", "pack_file_path_relative");
    }
}

#[tokio::test]
async fn test_replace_files_keeps_dots_that_lead_nowhere() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let files = [file("..a/b..", b"", false), file(".hidden", b"", false)];
    PackRepository::replace_files(&mut tx, pack.id, &files).await.unwrap();
    assert_eq!(PackRepository::files(&mut tx, pack.id).await.unwrap().1, files);
}

#[tokio::test]
async fn test_replace_files_of_no_pack() {
    let mut tx = transaction().await;
    let stored = PackRepository::replace_files(&mut tx, NO_SUCH_ID, &[file("a", b"", false)]).await;
    assert_invalid_reference(stored, "pack_file", "pack");
}

#[tokio::test]
async fn test_list_limit() {
    let mut tx = transaction().await;
    let prefix = unique_pack_ref();
    sqlx::query(
        "insert into attune.pack (ref, label, version)
         select format('%s_%s', $1::text, lpad(n::text, 4, '0')), 'x', '1.0.0' from generate_series(0, 1000) n",
    )
    .bind(&prefix)
    .execute(&mut *tx)
    .await
    .unwrap();
    let listed = PackRepository::list(&mut *tx).await.unwrap();
    assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
    assert_eq!(listed[999].r#ref, format!("{prefix}_0999"));
}

#[tokio::test]
async fn test_create_refused_values_are_named() {
    for (new, field, value) in [
        (PackFixture::new("Ops"), "ref", "Ops"),
        (PackFixture::new_unique().with_version("1.0"), "version", "1.0"),
        (PackFixture::new_unique().with_checksum("abc"), "checksum", "abc"),
    ] {
        let mut tx = transaction().await;
        assert_refused_value(new.create(&mut tx).await, "pack", field, value);
    }
}

#[tokio::test]
async fn test_update_stale() {
    let mut tx = transaction().await;
    let seen = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let update = |label: &str| PackUpdate {
        label: Some(label.to_owned()),
        unchanged_since: Some(seen.updated),
        ..PackUpdate::default()
    };
    let first = PackRepository::update(&mut tx, seen.id, &update("first")).await.unwrap();
    assert_conflict(PackRepository::update(&mut tx, seen.id, &update("second")).await, "pack", &seen.id);
    assert_eq!(PackRepository::get_by_id(&mut *tx, seen.id).await.unwrap(), first);
}

#[tokio::test]
async fn test_delete_raises_the_rule_set() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let rule = RuleFixture::new_unique().with_pack(&pack, "a").with_trigger(&trigger);
    rule.create(&mut tx).await.unwrap();
    let before = rule_set(&mut tx).await;
    assert!(PackRepository::delete(&mut *tx, pack.id).await.unwrap());
    assert_eq!(RuleRepository::live(&mut tx).await.unwrap(), (before + 1, vec![]));
    assert!(!PackRepository::delete(&mut *tx, pack.id).await.unwrap());
    assert_eq!(rule_set(&mut tx).await, before + 1);
}

#[tokio::test]
async fn test_dependents_are_what_others_use() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let other = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "sh").create(&mut tx).await.unwrap();
    let trigger = TriggerFixture::new_unique().with_pack(&pack, "alert").create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().with_pack(&pack, "page").create(&mut tx).await.unwrap();
    let own = RuleFixture::new_unique().with_pack(&pack, "own").with_trigger(&trigger).with_action(&action);
    own.create(&mut tx).await.unwrap();
    assert_eq!(PackRepository::dependents(&mut *tx, pack.id, &[]).await.unwrap(), []);

    let rule =
        RuleFixture::new_unique().with_pack(&other, "rule").with_trigger(&trigger).with_action(&action);
    let rule = rule.create(&mut tx).await.unwrap();
    let runs = ActionFixture::new_unique().with_pack(&other, "runs").with_runtime(&runtime);
    let runs = runs.create(&mut tx).await.unwrap();
    let mut sensor = SensorFixture::new(&other, "watch").with_runtime(&runtime);
    sensor.new.trigger_refs = vec![trigger.r#ref.clone()];
    let sensor = sensor.create(&mut tx).await.unwrap();
    let policy = PolicyFixture::of_pack(&other, "few").with_action(&action).create(&mut tx).await.unwrap();
    let dependent = |entity: &str, user: &str, target_entity: &str, target: &str| Dependent {
        entity: entity.to_owned(),
        r#ref: user.to_owned(),
        pack_ref: Some(other.r#ref.clone()),
        target_entity: target_entity.to_owned(),
        target: target.to_owned(),
    };
    let expected = [
        dependent("action", &runs.r#ref, "runtime", &runtime.r#ref),
        dependent("policy", &policy.r#ref, "action", &action.r#ref),
        dependent("rule", &rule.r#ref, "action", &action.r#ref),
        dependent("rule", &rule.r#ref, "trigger", &trigger.r#ref),
        dependent("sensor", &sensor.r#ref, "runtime", &runtime.r#ref),
        dependent("sensor", &sensor.r#ref, "trigger", &trigger.r#ref),
    ];
    assert_eq!(PackRepository::dependents(&mut *tx, pack.id, &[]).await.unwrap(), expected);
    // What an upgrade keeps is nobody's trouble.
    let kept = [runtime.r#ref, trigger.r#ref];
    assert_eq!(PackRepository::dependents(&mut *tx, pack.id, &kept).await.unwrap(), expected[1..3]);
}

#[tokio::test]
async fn test_only_a_pack_with_settings_has_a_configuration() {
    let mut tx = transaction().await;
    let plain = PackFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(PackRepository::configuration(&mut *tx, plain.id).await.unwrap(), None);
    let pack = PackRepository::put(&mut *tx, &full("configured")).await.unwrap();
    let update = PackUpdate { config: Some(json!({"port": 8443})), ..PackUpdate::default() };
    PackRepository::update(&mut tx, pack.id, &update).await.unwrap();
    let found = PackRepository::configuration(&mut *tx, pack.id).await.unwrap().unwrap();
    assert_eq!(found.r#ref, "configured");
    assert_eq!(found.conf_schema, json!({"properties": {"port": {"type": "integer"}}}));
    assert_eq!((found.environment_config, found.config), (json!({"port": 443}), json!({"port": 8443})));
}

#[tokio::test]
async fn test_the_rules_of_a_pack_are_taken_by_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let trigger = TriggerFixture::new_unique().with_pack(&pack, "alert").create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().with_pack(&pack, "page").create(&mut tx).await.unwrap();
    for name in ["second", "first"] {
        let rule =
            RuleFixture::new_unique().with_pack(&pack, name).with_trigger(&trigger).with_action(&action);
        rule.create(&mut tx).await.unwrap();
    }
    let taken = RuleRepository::take_of_pack(&mut tx, pack.id).await.unwrap();
    assert_eq!(taken, RuleRepository::list_of_pack(&mut *tx, pack.id).await.unwrap());
    assert_eq!(taken.len(), 2);
}
