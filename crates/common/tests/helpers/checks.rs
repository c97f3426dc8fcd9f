//! Checks of the typed errors.

use std::fmt::Debug;

use attune_common::error::{Result, StoreError};

use super::NO_SUCH_ID;

/// The result is a NotFound of this entity and key.
#[track_caller]
pub(crate) fn assert_not_found<T: Debug>(result: Result<T>, entity: &str, key: &(impl ToString + ?Sized)) {
    match result {
        Err(StoreError::NotFound { entity: missing, key: missing_key }) => {
            assert_eq!((missing, missing_key), (entity, key.to_string()));
        }
        other => panic!("expected NotFound of {entity} {}, got {other:?}", key.to_string()),
    }
}

/// The result is an AlreadyExists of this field and value.
#[track_caller]
pub(crate) fn assert_already_exists<T: Debug>(result: Result<T>, entity: &str, field: &str, value: &str) {
    match result {
        Err(StoreError::AlreadyExists { entity: existing, field: taken, value: taken_value, .. }) => {
            assert_eq!((&*existing, &*taken, taken_value.as_deref()), (entity, field, Some(value)));
        }
        other => panic!("expected AlreadyExists of {entity}.{field}, got {other:?}"),
    }
}

/// The result is an InvalidReference of this field, to the id that no row has.
#[track_caller]
pub(crate) fn assert_invalid_reference<T: Debug>(result: Result<T>, entity: &str, field: &str) {
    assert_invalid_reference_to(result, entity, field, NO_SUCH_ID);
}

/// The result is an InvalidReference of this field to this id.
#[track_caller]
pub(crate) fn assert_invalid_reference_to<T: Debug>(result: Result<T>, entity: &str, field: &str, id: i64) {
    match result {
        Err(StoreError::InvalidReference { entity: referring, field: reference, value, .. }) => {
            let expected = id.to_string();
            assert_eq!((&*referring, &*reference, value), (entity, field, Some(expected)));
        }
        other => panic!("expected InvalidReference of {entity}.{field}, got {other:?}"),
    }
}

/// The result is an InvalidValue by this constraint.
#[track_caller]
pub(crate) fn assert_invalid_value<T: Debug>(result: Result<T>, entity: &str, constraint: &str) {
    match result {
        Err(StoreError::InvalidValue { entity: refused, constraint: violated, .. }) => {
            assert_eq!((&*refused, &*violated), (entity, constraint));
        }
        other => panic!("expected InvalidValue by {constraint}, got {other:?}"),
    }
}

/// The result is an InvalidValue of this field, and names the value.
#[track_caller]
pub(crate) fn assert_refused_value<T: Debug>(result: Result<T>, entity: &str, field: &str, value: &str) {
    match result {
        Err(StoreError::InvalidValue {
            entity: refused, field: refused_field, value: refused_value, ..
        }) => {
            let refused_value = refused_value.as_deref();
            assert_eq!((&*refused, &*refused_field, refused_value), (entity, field, Some(value)));
        }
        other => panic!("expected InvalidValue of {entity}.{field}, got {other:?}"),
    }
}

/// The result is a Conflict about this entity and key.
#[track_caller]
pub(crate) fn assert_conflict<T: Debug>(result: Result<T>, entity: &str, key: &(impl ToString + ?Sized)) {
    match result {
        Err(StoreError::Conflict { entity: changed, key: changed_key }) => {
            assert_eq!((changed, changed_key), (entity, key.to_string()));
        }
        other => panic!("expected Conflict of {entity} {}, got {other:?}", key.to_string()),
    }
}
