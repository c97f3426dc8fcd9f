//! Pure expressions: Jinja templates, condition operators, event paths and parameter schemas.
//!
//! Nothing here does I/O or reads a clock; whoever evaluates passes data as a [`scope::Scope`] and time as a value. Every
//! fault says where it stands (a JSON pointer or a character), what was expected and, where a name is nearly right, which
//! one was meant.

pub mod cache;
pub mod form;
pub mod key_marks;
pub mod masking;
pub mod operator;
pub mod path;
pub mod pattern;
pub mod pointer;
pub mod projection;
pub mod schema;
pub mod scope;
pub mod suggest;
pub mod template;
pub mod value;
