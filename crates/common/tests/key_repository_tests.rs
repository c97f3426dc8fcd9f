//! The key repository: `attune.key`. What is stored here is not sealed at all: a repository does not look at values.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod helpers;

use attune_common::models::key::{Key, KeyFilter, KeyOwner, KeyUpdate, NewKey, ResealedKey, SealedKey};
use attune_common::models::owner::OwnerType;
use attune_common::repositories::{
    ActionRepository, IdentityRepository, KeyRepository, PackRepository, SensorRepository,
};
use attune_testkit::{TestDatabase, transaction};
use helpers::checks::*;
use helpers::key::*;
use helpers::steps::*;
use helpers::*;
use sqlx::PgConnection;

/// An owner of every kind.
async fn owners(connection: &mut PgConnection) -> [KeyOwner; 5] {
    let identity = IdentityFixture::new_unique().create(&mut *connection).await.unwrap();
    let pack = PackFixture::new_unique().create(&mut *connection).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut *connection).await.unwrap();
    let sensor = SensorFixture::new(&pack, "watch").create(connection).await.unwrap();
    [
        KeyOwner::System,
        KeyOwner::Identity(identity.id),
        KeyOwner::Pack(pack.id),
        KeyOwner::Action(action.id),
        KeyOwner::Sensor(sensor.id),
    ]
}

async fn value_of(connection: &mut PgConnection, key: &Key) -> Vec<u8> {
    let sealed = KeyRepository::find_sealed(connection, &key.key_ref).await.unwrap();
    sealed.expect("the key exists").value
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(KeyRepository::table_name(), "attune.key");
}

#[tokio::test]
async fn test_create_of_the_system() {
    let mut tx = transaction().await;
    let key_ref = unique_key_ref();
    let key = KeyFixture::new(&key_ref).with_value(b"bytes").create(&mut tx).await.unwrap();
    let expected = Key {
        id: key.id,
        name: key_ref.strip_prefix("test.").unwrap().to_owned(),
        key_ref,
        owner: KeyOwner::System,
        data_key: data_key(&mut tx).await.unwrap().id,
        secret: true,
        version: 1,
        created: key.created,
        updated: key.updated,
    };
    assert_eq!(key, expected);
    assert_eq!(value_of(&mut tx, &key).await, b"bytes");
}

#[tokio::test]
async fn test_create_of_every_owner() {
    let mut tx = transaction().await;
    for owner in owners(&mut tx).await {
        let key = KeyFixture::new_unique().with_owner(owner).create(&mut tx).await.unwrap();
        assert_eq!(key.owner, owner);
        assert_eq!(KeyRepository::get_by_id(&mut *tx, key.id).await.unwrap(), key);
    }
}

#[tokio::test]
async fn test_create_name_is_all_after_the_pack() {
    let mut tx = transaction().await;
    let key = KeyFixture::new("test.api.token").create(&mut tx).await.unwrap();
    assert_eq!(key.name, "api.token");
}

#[tokio::test]
async fn test_create_ref_taken() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let again = KeyFixture::new(&key.key_ref).create(&mut tx).await;
    assert_already_exists(again, "key", "ref", &key.key_ref);
}

#[tokio::test]
async fn test_create_invalid_refs() {
    for key_ref in ["", "token", "ops.", ".token", "Ops.token", "ops token.x"] {
        let mut tx = transaction().await;
        let created = KeyFixture::new(key_ref).create(&mut tx).await;
        assert_refused_value(created, "key", "ref", key_ref);
    }
}

#[tokio::test]
async fn test_create_invalid_owners() {
    for (owner, field) in [
        (KeyOwner::Identity(NO_SUCH_ID), "owner_identity"),
        (KeyOwner::Pack(NO_SUCH_ID), "owner_pack"),
        (KeyOwner::Action(NO_SUCH_ID), "owner_action"),
        (KeyOwner::Sensor(NO_SUCH_ID), "owner_sensor"),
    ] {
        let mut tx = transaction().await;
        let created = KeyFixture::new_unique().with_owner(owner).create(&mut tx).await;
        assert_invalid_reference(created, "key", field);
    }
}

#[tokio::test]
async fn test_create_invalid_data_key() {
    let mut tx = transaction().await;
    let new = NewKey { data_key: NO_SUCH_ID, ..KeyFixture::new_unique().new_key(&mut tx).await.unwrap() };
    assert_invalid_reference(KeyRepository::create(&mut *tx, &new).await, "key", "data_key");
}

#[tokio::test]
async fn test_create_under_a_replaced_data_key() {
    let mut tx = transaction().await;
    let new = KeyFixture::new_unique().new_key(&mut tx).await.unwrap();
    next_data_key(&mut tx).await;
    assert_conflict(KeyRepository::create(&mut *tx, &new).await, "data_key", &new.data_key);
    assert_eq!(KeyRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_put_makes_a_key() {
    let mut tx = transaction().await;
    let [_, _, pack, ..] = owners(&mut tx).await;
    let key = KeyFixture::new_unique().with_owner(pack).with_value(b"bytes").put(&mut tx).await.unwrap();
    assert_eq!((key.owner, key.version), (pack, 1));
    assert_eq!(value_of(&mut tx, &key).await, b"bytes");
}

#[tokio::test]
async fn test_put_replaces_the_value() {
    let mut tx = transaction().await;
    let fixture = KeyFixture::new_unique();
    let before = fixture.clone().with_value(b"old").create(&mut tx).await.unwrap();
    let after = fixture.with_value(b"new").put(&mut tx).await.unwrap();
    assert!(after.updated > before.updated);
    assert_eq!(after, Key { version: 2, updated: after.updated, ..before });
    assert_eq!(value_of(&mut tx, &after).await, b"new");
}

#[tokio::test]
async fn test_put_says_of_its_value_whether_it_is_a_secret() {
    let mut tx = transaction().await;
    let fixture = KeyFixture::new_unique();
    let before = fixture.clone().with_value(b"old").create(&mut tx).await.unwrap();
    assert!(before.secret);
    for (version, secret) in [(2, false), (3, false), (4, true)] {
        let fixture = fixture.clone().with_value(format!("{version}").as_bytes());
        let put = if secret { fixture } else { fixture.plain() }.put(&mut tx).await.unwrap();
        assert_eq!((put.version, put.secret), (version, secret));
        let found = KeyRepository::find_with_value(&mut *tx, &put.key_ref).await.unwrap().unwrap();
        assert_eq!((&found.key, found.sealed.secret), (&put, secret));
        assert_eq!(found.sealed.value, format!("{version}").as_bytes());
    }
}

#[tokio::test]
async fn test_put_alike_leaves_a_key_that_became_another() {
    let mut tx = transaction().await;
    let fixture = KeyFixture::new_unique();
    let made = fixture.clone().with_value(b"one").put_alike(&mut tx).await.unwrap().unwrap();
    assert_eq!((made.secret, made.version), (true, 1));
    // Who thought that it was none is too late.
    assert_eq!(fixture.clone().plain().with_value(b"late").put_alike(&mut tx).await.unwrap(), None);
    assert_eq!(KeyRepository::get_by_id(&mut *tx, made.id).await.unwrap(), made);
    assert_eq!(value_of(&mut tx, &made).await, b"one");
    let again = fixture.clone().with_value(b"two").put_alike(&mut tx).await.unwrap().unwrap();
    assert_eq!(again, Key { version: 2, updated: again.updated, ..made.clone() });
    assert_eq!(value_of(&mut tx, &made).await, b"two");
    // And who thought that it was a secret.
    let plain = fixture.clone().plain().put(&mut tx).await.unwrap();
    assert_eq!(fixture.clone().with_value(b"late").put_alike(&mut tx).await.unwrap(), None);
    assert_eq!(KeyRepository::get_by_id(&mut *tx, made.id).await.unwrap(), plain);
    let level = fixture.plain().with_value(b"80").put_alike(&mut tx).await.unwrap().unwrap();
    assert_eq!((level.secret, level.version), (false, 4));
    assert_eq!(value_of(&mut tx, &level).await, b"80");
}

#[tokio::test]
async fn test_put_alike_under_a_replaced_data_key() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().with_value(b"old").create(&mut tx).await.unwrap();
    let new = KeyFixture::new(&key.key_ref).with_value(b"new").new_key(&mut tx).await.unwrap();
    let next = next_data_key(&mut tx).await;
    assert_eq!(KeyRepository::put_alike(&mut *tx, &new).await.unwrap(), None);
    assert_eq!(value_of(&mut tx, &key).await, b"old");
    let new = NewKey { data_key: next.id, ..new };
    let put = KeyRepository::put_alike(&mut *tx, &new).await.unwrap().unwrap();
    assert_eq!((put.data_key, put.version), (next.id, 2));
}

#[tokio::test]
async fn test_put_alike_invalid_ref() {
    let mut tx = transaction().await;
    assert_refused_value(KeyFixture::new("Token").put_alike(&mut tx).await, "key", "ref", "Token");
}

#[tokio::test]
async fn test_hide() {
    let mut tx = transaction().await;
    let plain = KeyFixture::new_unique().plain().with_value(b"plain").create(&mut tx).await.unwrap();
    let hide = ResealedKey { id: plain.id, version: 1, value: b"hidden".to_vec() };
    let hidden = KeyRepository::hide(&mut *tx, plain.data_key, &hide).await.unwrap().unwrap();
    assert!(hidden.updated > plain.updated);
    assert_eq!(hidden, Key { secret: true, version: 2, updated: hidden.updated, ..plain });
    assert_eq!(value_of(&mut tx, &hidden).await, b"hidden");
}

#[tokio::test]
async fn test_hide_changes_nothing_that_is_other_than_it_was_read() {
    let mut tx = transaction().await;
    let secret = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let fixture = KeyFixture::new_unique().plain();
    let plain = fixture.clone().create(&mut tx).await.unwrap();
    fixture.with_value(b"set meanwhile").put(&mut tx).await.unwrap();
    for id in [secret.id, plain.id, NO_SUCH_ID] {
        let late = ResealedKey { id, version: 1, value: b"late".to_vec() };
        assert_eq!(KeyRepository::hide(&mut *tx, plain.data_key, &late).await.unwrap(), None);
    }
    assert_eq!(value_of(&mut tx, &secret).await, b"sealed");
    assert_eq!(value_of(&mut tx, &plain).await, b"set meanwhile");
    // Nor under a data key that is no longer in force.
    next_data_key(&mut tx).await;
    let late = ResealedKey { id: plain.id, version: 2, value: b"late".to_vec() };
    assert_eq!(KeyRepository::hide(&mut *tx, plain.data_key, &late).await.unwrap(), None);
    assert!(!KeyRepository::get_by_id(&mut *tx, plain.id).await.unwrap().secret);
}

#[tokio::test]
async fn test_create_missing() {
    let mut tx = transaction().await;
    let [_, _, pack, ..] = owners(&mut tx).await;
    let fixture = KeyFixture::new_unique().plain().with_owner(pack);
    let new = fixture.clone().with_value(b"first").new_key(&mut tx).await.unwrap();
    assert!(KeyRepository::create_missing(&mut *tx, &new).await.unwrap());
    let made = KeyRepository::get_by_ref(&mut *tx, &new.key_ref).await.unwrap();
    assert_eq!((made.owner, made.secret, made.version), (pack, false, 1));
    let again = fixture.with_value(b"second").new_key(&mut tx).await.unwrap();
    assert!(!KeyRepository::create_missing(&mut *tx, &again).await.unwrap());
    assert_eq!(KeyRepository::get_by_ref(&mut *tx, &new.key_ref).await.unwrap(), made);
    assert_eq!(value_of(&mut tx, &made).await, b"first");
}

#[tokio::test]
async fn test_create_missing_under_a_replaced_data_key() {
    let mut tx = transaction().await;
    let new = KeyFixture::new_unique().new_key(&mut tx).await.unwrap();
    next_data_key(&mut tx).await;
    assert_conflict(KeyRepository::create_missing(&mut *tx, &new).await, "data_key", &new.data_key);
    assert_eq!(KeyRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_create_missing_invalid_ref() {
    let mut tx = transaction().await;
    let new = KeyFixture::new("Token").new_key(&mut tx).await.unwrap();
    assert_refused_value(KeyRepository::create_missing(&mut *tx, &new).await, "key", "ref", "Token");
}

#[tokio::test]
async fn test_list_plain_gives_short_values_that_are_no_secrets() {
    let mut tx = transaction().await;
    let prefix = unique_key_ref();
    let of = |name: &str| KeyFixture::new(&format!("{prefix}.{name}"));
    of("c").plain().with_value(b"123456").create(&mut tx).await.unwrap();
    let second = of("b").plain().with_value(b"12345").create(&mut tx).await.unwrap();
    let first = of("a").plain().with_value(b"1").create(&mut tx).await.unwrap();
    of("d").with_value(b"1").create(&mut tx).await.unwrap();
    let listed = KeyRepository::list_plain(&mut *tx, 5).await.unwrap();
    let told: Vec<_> = listed.iter().map(|sealed| (sealed.id, sealed.secret, &*sealed.value)).collect();
    assert_eq!(told, [(first.id, false, &b"1"[..]), (second.id, false, b"12345")]);
}

#[tokio::test]
async fn test_put_keeps_the_owner_and_the_name() {
    let mut tx = transaction().await;
    let [system, _, pack, ..] = owners(&mut tx).await;
    let key = KeyFixture::new_unique().with_owner(pack).create(&mut tx).await.unwrap();
    let named = KeyUpdate { name: Some("Token".to_owned()), ..KeyUpdate::default() };
    KeyRepository::update(&mut tx, key.id, &named).await.unwrap();
    let put = KeyFixture::new(&key.key_ref).with_owner(system).put(&mut tx).await.unwrap();
    assert_eq!((put.owner, &*put.name, put.version), (pack, "Token", 2));
}

#[tokio::test]
async fn test_put_invalid_ref() {
    let mut tx = transaction().await;
    assert_refused_value(KeyFixture::new("Token").put(&mut tx).await, "key", "ref", "Token");
}

#[tokio::test]
async fn test_put_under_a_replaced_data_key() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().with_value(b"old").create(&mut tx).await.unwrap();
    let new = KeyFixture::new(&key.key_ref).with_value(b"new").new_key(&mut tx).await.unwrap();
    let next = next_data_key(&mut tx).await;
    assert_conflict(KeyRepository::put(&mut *tx, &new).await, "data_key", &new.data_key);
    assert_eq!(value_of(&mut tx, &key).await, b"old");
    let put = KeyRepository::put(&mut *tx, &NewKey { data_key: next.id, ..new }).await.unwrap();
    assert_eq!((put.data_key, put.version), (next.id, 2));
}

#[tokio::test]
async fn test_get_by_id() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    KeyFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(KeyRepository::find_by_id(&mut *tx, key.id).await.unwrap(), Some(key.clone()));
    assert_eq!(KeyRepository::get_by_id(&mut *tx, key.id).await.unwrap(), key);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(KeyRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
    assert_not_found(KeyRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "key", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_get_by_ref() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    KeyFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(KeyRepository::find_by_ref(&mut *tx, &key.key_ref).await.unwrap(), Some(key.clone()));
    assert_eq!(KeyRepository::get_by_ref(&mut *tx, &key.key_ref).await.unwrap(), key);
}

#[tokio::test]
async fn test_get_by_ref_not_found() {
    let mut tx = transaction().await;
    assert_eq!(KeyRepository::find_by_ref(&mut *tx, "test.none").await.unwrap(), None);
    assert_not_found(KeyRepository::get_by_ref(&mut *tx, "test.none").await, "key", "test.none");
}

#[tokio::test]
async fn test_find_sealed() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().with_value(b"bytes").create(&mut tx).await.unwrap();
    let sealed = KeyRepository::find_sealed(&mut *tx, &key.key_ref).await.unwrap().unwrap();
    assert_eq!((sealed.id, sealed.key_ref, sealed.version), (key.id, key.key_ref, 1));
    assert_eq!(sealed.value, b"bytes");
    assert_eq!(sealed.data_key, data_key(&mut tx).await.unwrap());
}

#[tokio::test]
async fn test_find_sealed_comes_with_the_data_key_of_the_value() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    next_data_key(&mut tx).await;
    let sealed = KeyRepository::find_sealed(&mut *tx, &key.key_ref).await.unwrap().unwrap();
    assert_eq!((sealed.data_key.id, &*sealed.data_key.wrapped), (key.data_key, &b"wrapped"[..]));
}

#[tokio::test]
async fn test_find_sealed_not_found() {
    let mut tx = transaction().await;
    assert!(KeyRepository::find_sealed(&mut *tx, "test.none").await.unwrap().is_none());
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(KeyRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_known_refs() {
    let mut tx = transaction().await;
    let prefix = unique_key_ref();
    let key = KeyFixture::new(&format!("{prefix}.a")).create(&mut tx).await.unwrap();
    let plain = KeyFixture::new(&format!("{prefix}.b")).plain().create(&mut tx).await.unwrap();
    let asked = [key.key_ref.as_str(), plain.key_ref.as_str(), "no.such"];
    let known = KeyRepository::known_refs(&mut *tx, &asked).await.unwrap();
    assert_eq!(known, [(key.key_ref.clone(), true), (plain.key_ref.clone(), false)].into());
    assert!(KeyRepository::known_refs(&mut *tx, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    let prefix = unique_key_ref();
    let second = KeyFixture::new(&format!("{prefix}.b")).create(&mut tx).await.unwrap();
    let first = KeyFixture::new(&format!("{prefix}.a")).create(&mut tx).await.unwrap();
    assert_eq!(KeyRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_list_limit() {
    let mut tx = transaction().await;
    let data_key = data_key(&mut tx).await.unwrap();
    sqlx::query(
        "insert into attune.key (ref, name, data_key, value)
         select 'test.many_' || n, 'many', $1, '' from generate_series(1, 1001) n",
    )
    .bind(data_key.id)
    .execute(&mut *tx)
    .await
    .unwrap();
    assert_eq!(KeyRepository::list(&mut *tx).await.unwrap().len(), 1000);
    assert_eq!(KeyRepository::list_by_owner(&mut *tx, KeyOwner::System).await.unwrap().len(), 1000);
}

#[tokio::test]
async fn test_list_by_owner() {
    let mut tx = transaction().await;
    let owners = owners(&mut tx).await;
    let mut of = Vec::new();
    for owner in owners {
        let prefix = unique_key_ref();
        let second = KeyFixture::new(&format!("{prefix}.b")).with_owner(owner).create(&mut tx).await.unwrap();
        let first = KeyFixture::new(&format!("{prefix}.a")).with_owner(owner).create(&mut tx).await.unwrap();
        of.push([first, second]);
    }
    for (owner, keys) in owners.into_iter().zip(of) {
        assert_eq!(KeyRepository::list_by_owner(&mut *tx, owner).await.unwrap(), keys, "{owner:?}");
    }
}

#[tokio::test]
async fn test_list_by_owner_tells_kinds_apart() {
    let mut tx = transaction().await;
    let [_, KeyOwner::Identity(identity), ..] = owners(&mut tx).await else { panic!("no identity") };
    KeyFixture::new_unique().with_owner(KeyOwner::Identity(identity)).create(&mut tx).await.unwrap();
    // Ids of different tables may be the same number.
    for owner in [KeyOwner::Pack(identity), KeyOwner::Action(identity), KeyOwner::Sensor(identity)] {
        assert_eq!(KeyRepository::list_by_owner(&mut *tx, owner).await.unwrap(), [], "{owner:?}");
    }
}

#[tokio::test]
async fn test_search_by_owner_type() {
    let mut tx = transaction().await;
    for owner in owners(&mut tx).await {
        let key = KeyFixture::new_unique().with_owner(owner).create(&mut tx).await.unwrap();
        let filter = KeyFilter { owner_type: Some(owner.owner_type()), limit: 10, ..KeyFilter::default() };
        assert_eq!(KeyRepository::search(&mut *tx, &filter).await.unwrap(), [key]);
    }
}

#[tokio::test]
async fn test_search_by_text() {
    let mut tx = transaction().await;
    let prefix = unique_key_ref();
    let token = KeyFixture::new(&format!("{prefix}.api_token")).create(&mut tx).await.unwrap();
    let other = KeyFixture::new(&format!("{prefix}.apixtoken")).create(&mut tx).await.unwrap();
    let search = |text: &str| KeyFilter { text: Some(text.to_owned()), limit: 10, ..KeyFilter::default() };
    let found = KeyRepository::search(&mut *tx, &search("API_Token")).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&token), "an underscore is no wildcard, and case does not matter");
    assert_eq!(KeyRepository::search(&mut *tx, &search(&prefix)).await.unwrap(), [token, other]);
    assert_eq!(KeyRepository::search(&mut *tx, &search("%")).await.unwrap(), []);
}

#[tokio::test]
async fn test_search_pages() {
    let mut tx = transaction().await;
    let prefix = unique_key_ref();
    let mut keys = Vec::new();
    for name in ["a", "b", "c"] {
        keys.push(KeyFixture::new(&format!("{prefix}.{name}")).create(&mut tx).await.unwrap());
    }
    let mut filter = KeyFilter { owner_type: Some(OwnerType::System), limit: 2, ..KeyFilter::default() };
    assert_eq!(KeyRepository::search(&mut *tx, &filter).await.unwrap(), keys[..2]);
    filter.after = Some(keys[1].key_ref.clone());
    assert_eq!(KeyRepository::search(&mut *tx, &filter).await.unwrap(), keys[2..]);
}

#[tokio::test]
async fn test_update_name() {
    let mut tx = transaction().await;
    let before = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let update = KeyUpdate { name: Some("API token".to_owned()), ..KeyUpdate::default() };
    let after = KeyRepository::update(&mut tx, before.id, &update).await.unwrap();
    assert!(after.updated > before.updated);
    assert_eq!(after, Key { name: "API token".to_owned(), updated: after.updated, ..before });
}

#[tokio::test]
async fn test_update_owner_from_each_to_each() {
    let mut tx = transaction().await;
    let owners = owners(&mut tx).await;
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    for from in owners {
        for to in owners {
            for owner in [from, to] {
                let update = KeyUpdate { owner: Some(owner), ..KeyUpdate::default() };
                let updated = KeyRepository::update(&mut tx, key.id, &update).await.unwrap();
                assert_eq!((updated.owner, updated.version), (owner, 1));
            }
        }
    }
}

#[tokio::test]
async fn test_update_invalid_owner() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let update = KeyUpdate { owner: Some(KeyOwner::Pack(NO_SUCH_ID)), ..KeyUpdate::default() };
    assert_invalid_reference(KeyRepository::update(&mut tx, key.id, &update).await, "key", "owner_pack");
}

#[tokio::test]
async fn test_update_nothing() {
    let mut tx = transaction().await;
    let [_, _, pack, ..] = owners(&mut tx).await;
    let key = KeyFixture::new_unique().with_owner(pack).create(&mut tx).await.unwrap();
    assert_eq!(KeyRepository::update(&mut tx, key.id, &KeyUpdate::default()).await.unwrap(), key);
}

#[tokio::test]
async fn test_update_of_a_row_that_changed_meanwhile() {
    let mut tx = transaction().await;
    let seen = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let current = KeyFixture::new(&seen.key_ref).put(&mut tx).await.unwrap();
    let mut update = KeyUpdate {
        name: Some("Late".to_owned()),
        unchanged_since: Some(seen.updated),
        ..KeyUpdate::default()
    };
    assert_conflict(KeyRepository::update(&mut tx, seen.id, &update).await, "key", &seen.id);
    assert_eq!(KeyRepository::get_by_id(&mut *tx, seen.id).await.unwrap(), current);
    update.unchanged_since = Some(current.updated);
    assert_eq!(KeyRepository::update(&mut tx, seen.id, &update).await.unwrap().name, "Late");
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let updated = KeyRepository::update(&mut tx, NO_SUCH_ID, &KeyUpdate::default()).await;
    assert_not_found(updated, "key", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_delete() {
    let mut tx = transaction().await;
    let kept = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(KeyRepository::delete(&mut *tx, key.id).await.unwrap());
    assert!(!KeyRepository::delete(&mut *tx, key.id).await.unwrap());
    assert_eq!(KeyRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_by_ref() {
    let mut tx = transaction().await;
    let kept = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    KeyRepository::delete_by_ref(&mut *tx, &key.key_ref).await.unwrap();
    assert_eq!(KeyRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_by_ref_not_found() {
    let mut tx = transaction().await;
    assert_not_found(KeyRepository::delete_by_ref(&mut *tx, "test.none").await, "key", "test.none");
}

#[tokio::test]
async fn test_keys_go_with_their_owner() {
    let mut tx = transaction().await;
    let owners = owners(&mut tx).await;
    let mut keys = Vec::new();
    for owner in owners {
        keys.push(KeyFixture::new_unique().with_owner(owner).create(&mut tx).await.unwrap());
    }
    for owner in owners {
        let gone = match owner {
            KeyOwner::System => false,
            KeyOwner::Identity(id) => IdentityRepository::delete(&mut *tx, id).await.unwrap(),
            KeyOwner::Pack(id) => {
                // The sensor is the pack's, and its key would go as well.
                let [.., KeyOwner::Sensor(sensor)] = owners else { panic!("no sensor") };
                assert!(SensorRepository::delete(&mut *tx, sensor).await.unwrap());
                PackRepository::delete(&mut *tx, id).await.unwrap()
            }
            KeyOwner::Action(id) => ActionRepository::delete(&mut *tx, id).await.unwrap(),
            KeyOwner::Sensor(_) => true,
        };
        let key = keys.iter().find(|key| key.owner == owner).unwrap();
        let left = KeyRepository::find_by_id(&mut *tx, key.id).await.unwrap();
        assert_eq!(left.is_none(), gone, "{owner:?}");
    }
    assert_eq!(KeyRepository::list(&mut *tx).await.unwrap(), keys[..1]);
}

#[tokio::test]
async fn test_owner_is_consistent_in_the_schema() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let changed = sqlx::query("update attune.key set owner_type = 'pack' where id = $1")
        .bind(key.id)
        .execute(&mut *tx)
        .await
        .map_err(attune_common::StoreError::from);
    assert_invalid_value(changed, "key", "key_owner_consistent");
}

#[tokio::test]
async fn test_list_outdated() {
    let mut tx = transaction().await;
    let first = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let second = KeyFixture::new_unique().with_value(b"second").create(&mut tx).await.unwrap();
    let next = next_data_key(&mut tx).await;
    KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let ids = |sealed: Vec<SealedKey>| -> Vec<i64> { sealed.iter().map(|key| key.id).collect() };
    let all = KeyRepository::list_outdated(&mut *tx, next.id, 0, 10).await.unwrap();
    assert_eq!((&*all[1].value, all[1].data_key.id), (&b"second"[..], second.data_key));
    assert_eq!(ids(all), [first.id, second.id]);
    let page = KeyRepository::list_outdated(&mut *tx, next.id, 0, 1).await.unwrap();
    assert_eq!(ids(page), [first.id]);
    let page = KeyRepository::list_outdated(&mut *tx, next.id, first.id, 10).await.unwrap();
    assert_eq!(ids(page), [second.id]);
    assert_eq!(ids(KeyRepository::list_outdated(&mut *tx, first.data_key, 0, 10).await.unwrap()), NO_IDS);
}

#[tokio::test]
async fn test_reseal_changes_the_value_and_nothing_else() {
    let mut tx = transaction().await;
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(KeyFixture::new_unique().create(&mut tx).await.unwrap());
    }
    let next = next_data_key(&mut tx).await;
    let resealed: Vec<_> = keys[..2]
        .iter()
        .map(|key| ResealedKey { id: key.id, version: 1, value: key.key_ref.clone().into_bytes() })
        .collect();
    assert_eq!(KeyRepository::reseal(&mut *tx, next.id, &resealed).await.unwrap(), 2);
    for key in &keys[..2] {
        let after = KeyRepository::get_by_id(&mut *tx, key.id).await.unwrap();
        assert_eq!(after, Key { data_key: next.id, ..key.clone() }, "`updated` is when somebody changed it");
        assert_eq!(value_of(&mut tx, key).await, key.key_ref.as_bytes());
    }
    assert_eq!(KeyRepository::get_by_id(&mut *tx, keys[2].id).await.unwrap(), keys[2]);
}

#[tokio::test]
async fn test_reseal_nothing() {
    let mut tx = transaction().await;
    let next = next_data_key(&mut tx).await;
    assert_eq!(KeyRepository::reseal(&mut *tx, next.id, &[]).await.unwrap(), 0);
}

#[tokio::test]
async fn test_reseal_leaves_a_value_that_was_set_meanwhile() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().with_value(b"old").create(&mut tx).await.unwrap();
    // Set under the data key that is then replaced: only the version tells.
    KeyFixture::new(&key.key_ref).with_value(b"new").put(&mut tx).await.unwrap();
    let next = next_data_key(&mut tx).await;
    let late = ResealedKey { id: key.id, version: 1, value: b"old again".to_vec() };
    assert_eq!(KeyRepository::reseal(&mut *tx, next.id, &[late]).await.unwrap(), 0);
    assert_eq!(value_of(&mut tx, &key).await, b"new");
}

#[tokio::test]
async fn test_reseal_leaves_what_a_newer_data_key_has() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let (older, newer) = (next_data_key(&mut tx).await, next_data_key(&mut tx).await);
    let resealed = |value: &[u8]| [ResealedKey { id: key.id, version: 1, value: value.to_vec() }];
    assert_eq!(KeyRepository::reseal(&mut *tx, newer.id, &resealed(b"newer")).await.unwrap(), 1);
    assert_eq!(KeyRepository::reseal(&mut *tx, older.id, &resealed(b"older")).await.unwrap(), 0);
    assert_eq!(value_of(&mut tx, &key).await, b"newer");
}

#[tokio::test]
async fn test_reseal_waits_for_a_value_that_is_just_being_set() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let mut transaction = attune_common::db::begin(database.pool()).await.unwrap();
    let key = KeyFixture::new_unique().with_value(b"old").create(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
    // The writer began before the new data key, and ends after the rotation has read the value.
    let mut writer = attune_common::db::begin(database.pool()).await.unwrap();
    let new = NewKey {
        key_ref: key.key_ref.clone(),
        owner: key.owner,
        data_key: key.data_key,
        secret: true,
        value: b"new".to_vec(),
    };
    KeyRepository::put(&mut *writer, &new).await.unwrap();
    let mut rotation = attune_common::db::begin(database.pool()).await.unwrap();
    let next = next_data_key(&mut rotation).await;
    rotation.commit().await.unwrap();
    let late = [ResealedKey { id: key.id, version: 1, value: b"old again".to_vec() }];
    let (resealed, ()) = tokio::join!(KeyRepository::reseal(database.pool(), next.id, &late), async {
        until_blocked(database.pool(), 1).await;
        writer.commit().await.unwrap();
    });
    assert_eq!(resealed.unwrap(), 0);
    assert_eq!(value_of(&mut connection, &key).await, b"new");
    // What the late writer left is found by the next round.
    let left = KeyRepository::list_outdated(database.pool(), next.id, 0, 10).await.unwrap();
    assert_eq!(left.iter().map(|sealed| sealed.version).collect::<Vec<_>>(), [2]);
}
