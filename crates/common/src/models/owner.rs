//! What keys and artifacts belong to.

use super::named_enum;

named_enum! {
    /// The kind of thing that something belongs to.
    OwnerType as "attune.owner_type" {
        /// Nobody in particular: the whole installation.
        System = "system",
        Identity = "identity",
        Pack = "pack",
        Action = "action",
        Sensor = "sensor",
    }
}
