//! Refs that no other test uses.

use super::unique_suffix;

/// A ref for a runtime.
pub(crate) fn unique_runtime_ref() -> String {
    format!("test.runtime_{}", unique_suffix())
}

/// A ref for a sensor.
pub(crate) fn unique_sensor_ref() -> String {
    format!("test.sensor_{}", unique_suffix())
}

/// A ref for a permission set.
pub(crate) fn unique_permission_set_ref() -> String {
    format!("test.permission_set_{}", unique_suffix())
}
