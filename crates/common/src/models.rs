//! The domain models: what a row is once it is read, and what is given to make one.
//!
//! A model named as the entity (`Event`) is a row; `New*` is what makes one; `*Update` changes one, where None leaves a
//! column as it is. Times are UTC, ids are positive, JSON is [`serde_json::Value`].

pub mod acting_run;
pub mod acting_sensor;
pub mod action;
pub mod admission;
pub mod artifact;
pub mod audit;
pub mod enforcement;
pub mod event;
pub mod execution;
pub mod grant;
pub mod identity;
pub mod inquiry;
pub mod internal_event;
pub mod key;
pub mod keyed;
pub mod notification;
pub mod owner;
pub mod pack;
pub mod pause;
pub mod placement;
pub mod policy;
pub mod progress;
pub mod rule;
pub mod runtime;
pub mod sensor;
pub mod trigger;
pub mod window;
pub mod work_queue;
pub mod worker;
pub mod workflow;

/// A point in time as the database gives it.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// Defines an enum once for Rust, for JSON and for the schema: the names are the same in all three.
macro_rules! named_enum {
    ($(#[$meta:meta])* $name:ident as $type_name:literal { $($(#[$variant_meta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, sqlx::Type)]
        #[sqlx(type_name = $type_name)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $text)] #[sqlx(rename = $text)] $variant),+
        }

        impl $name {
            /// The name of the enum type in the schema.
            pub const TYPE_NAME: &'static str = $type_name;
            /// Every value, in the order of the schema.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name as the schema and JSON spell it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    format!("{text:?} is none of {}", names.join(", "))
                })
            }
        }
    };
}
pub(crate) use named_enum;
