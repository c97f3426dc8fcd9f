//! Pages of lists that grow: the newest first, continued by a cursor.

use attune_client::types::Page;

use crate::error::ApiError;
use crate::refs::is_component_ref;

/// How many items a page has when nothing is asked for.
const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 1000;

/// Which page is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paging {
    /// Only items with a smaller id.
    pub(crate) before: Option<i64>,
    limit: i64,
}

impl Paging {
    /// Reads `limit` and `cursor`.
    pub(crate) fn new(limit: Option<i64>, cursor: Option<&str>) -> Result<Self, ApiError> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ApiError::bad_request(format!("`limit` is {limit}; it may be 1 to {MAX_LIMIT}")));
        }
        let before = match cursor {
            None => None,
            Some(cursor) => Some(cursor.parse().map_err(|_| {
                ApiError::bad_request(format!(
                    "{cursor:?} is no cursor; give the `next_cursor` of the page before"
                ))
            })?),
        };
        Ok(Self { before, limit })
    }

    /// How many rows to read: one more than the page has, which tells whether there is another page.
    pub(crate) fn rows(&self) -> i64 {
        self.limit + 1
    }

    /// Cuts what was read to the page; the cursor of the next page is the id of the last row of this one.
    pub(crate) fn cut<T>(&self, rows: &mut Vec<T>, id: impl Fn(&T) -> i64) -> Option<String> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if rows.len() <= limit {
            return None;
        }
        rows.truncate(limit);
        rows.last().map(|row| id(row).to_string())
    }
}

/// Which page is wanted of a list that is ordered by ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefPaging {
    limit: i64,
}

impl RefPaging {
    /// Reads `limit` and `cursor`; the cursor is the ref that the page before ended with.
    pub(crate) fn new(limit: Option<i64>, cursor: Option<&str>) -> Result<Self, ApiError> {
        let limit = Paging::new(limit, None)?.limit;
        match cursor {
            Some(cursor) if !is_component_ref(cursor) => Err(ApiError::bad_request(format!(
                "{cursor:?} is no cursor; give the `next_cursor` of the page before"
            ))),
            _ => Ok(Self { limit }),
        }
    }

    /// How many rows to read: one more than the page has.
    pub(crate) fn rows(&self) -> i64 {
        self.limit + 1
    }

    /// Cuts what was read to the page; the cursor of the next page is the ref of its last row.
    pub(crate) fn cut<T>(&self, rows: &mut Vec<T>, r#ref: impl Fn(&T) -> String) -> Option<String> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if rows.len() <= limit {
            return None;
        }
        rows.truncate(limit);
        rows.last().map(r#ref)
    }
}

/// A list that comes whole.
pub(crate) fn whole<T>(items: Vec<T>) -> Page<T> {
    Page { items, next_cursor: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_page_is_followed_by_its_last_id() {
        let paging = Paging::new(Some(2), None).unwrap();
        let mut rows = vec![9, 8, 7];
        assert_eq!(paging.rows(), 3);
        assert_eq!(paging.cut(&mut rows, |id| *id).as_deref(), Some("8"));
        assert_eq!(rows, [9, 8]);
        assert_eq!(Paging::new(Some(2), Some("8")).unwrap().before, Some(8));
    }

    #[test]
    fn test_the_last_page_has_no_cursor() {
        let mut rows = vec![2, 1];
        assert_eq!(Paging::new(Some(2), None).unwrap().cut(&mut rows, |id| *id), None);
        assert_eq!(rows, [2, 1]);
    }

    #[test]
    fn test_limits_and_cursors_are_checked() {
        for (limit, cursor) in [(Some(0), None), (Some(1001), None), (None, Some("x"))] {
            assert_eq!(
                Paging::new(limit, cursor).unwrap_err().status().as_u16(),
                400,
                "{limit:?} {cursor:?}"
            );
        }
    }
}
