//! `ETag` and `If-Match`: a change is made only to what the caller saw.

use attune_common::models::Timestamp;
use axum::http::{HeaderMap, header};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, Type};

use crate::error::ApiError;

/// The tag of a row: another one after every change.
pub(crate) fn tag(id: i64, updated: Timestamp) -> String {
    format!("\"{id}-{}\"", updated.timestamp_micros())
}

/// What the caller wants to change, if they say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// Whatever is there.
    Anything,
    /// Only one of these tags.
    Tags(Vec<String>),
}

impl IfMatch {
    /// Reads the header.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut tags = Vec::new();
        for value in headers.get_all(header::IF_MATCH) {
            let text = value.to_str().map_err(|_| ApiError::bad_request("`If-Match` is not text"))?;
            for tag in text.split(',').map(str::trim) {
                let quoted = tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"');
                if tag != "*" && !quoted && !tag.starts_with("W/\"") {
                    return Err(ApiError::bad_request(format!(
                        "`If-Match`: {tag:?} is no tag; give the `ETag` of the answer, quotes included, or `*`"
                    )));
                }
                tags.push(tag.to_owned());
            }
        }
        Ok(if tags.is_empty() || tags.iter().any(|tag| tag == "*") {
            Self::Anything
        } else {
            Self::Tags(tags)
        })
    }

    /// 412 unless the tag is one of those that are wanted.
    pub(crate) fn check(&self, entity: &str, name: &str, tag: &str) -> Result<(), ApiError> {
        match self {
            Self::Tags(tags) if !tags.iter().any(|wanted| wanted == tag) => {
                Err(ApiError::changed_since(format!(
                    "{entity} {name} was changed in the meantime; nothing was changed. Read it again, and decide again"
                )))
            }
            Self::Tags(_) | Self::Anything => Ok(()),
        }
    }
}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let parameter = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("The `ETag` of what is to be changed; 412 when it is another by now"))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()));
        vec![parameter.build()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<IfMatch, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        IfMatch::of(&headers)
    }

    #[test]
    fn test_if_match_is_read() {
        let tags = |tags: &[&str]| IfMatch::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(of(&[]).unwrap(), IfMatch::Anything);
        assert_eq!(of(&["*"]).unwrap(), IfMatch::Anything);
        assert_eq!(of(&["\"1-2\", \"3\"", "W/\"4\""]).unwrap(), tags(&["\"1-2\"", "\"3\"", "W/\"4\""]));
        assert_eq!(of(&["1-2"]).unwrap_err().status().as_u16(), 400);
        assert_eq!(of(&[""]).unwrap_err().status().as_u16(), 400);
    }

    #[test]
    fn test_only_the_same_strong_tag_matches() {
        let check = |value: &str| of(&[value]).unwrap().check("rule", "a.b", "\"1-2\"").is_ok();
        assert!(check("\"1-2\"") && check("\"0\", \"1-2\"") && check("*"));
        assert!(!check("\"1-3\"") && !check("W/\"1-2\""));
    }
}
