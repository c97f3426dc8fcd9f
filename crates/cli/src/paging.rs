//! Lists that come in pages.

use attune_client::ClientError;
use attune_client::types::Page;
use clap::Args;

use crate::output::{Format, say};

/// What the server is asked for at a time.
const PAGE_SIZE: usize = 100;

/// How many of a list that grows without end.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Limit {
    /// How many at most, the newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    limit: u32,
}

/// How many of a list of definitions.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OptionalLimit {
    /// How many at most [default: all]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    limit: Option<u32>,
}

/// Follows the pages until the limit is reached or nothing is left. Filters without a value are left out.
pub(crate) async fn collect<T>(
    limit: Limit,
    format: Format,
    filters: Vec<(&'static str, Option<String>)>,
    fetch: impl AsyncFn(&[(&str, String)]) -> Result<Page<T>, ClientError>,
) -> anyhow::Result<Vec<T>> {
    let limit = limit.limit as usize;
    let filters: Vec<(&str, String)> =
        filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = filters.clone();
        query.push(("limit", (limit - items.len()).min(PAGE_SIZE).to_string()));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = fetch(&query).await?;
        let was_empty = page.items.is_empty();
        items.extend(page.items);
        cursor = page.next_cursor;
        if items.len() >= limit || cursor.is_none() || was_empty {
            break;
        }
    }
    let more = items.len() > limit || cursor.is_some();
    items.truncate(limit);
    if more && format == Format::Table {
        say(format_args!("the newest {limit}; --limit shows more"));
    }
    Ok(items)
}

/// A list that the server gives as a whole, filtered here.
pub(crate) fn select<T>(page: Page<T>, limit: OptionalLimit, keep: impl Fn(&T) -> bool) -> Vec<T> {
    if page.next_cursor.is_some() {
        say("warning: the server gave only a part of the list");
    }
    let limit = limit.limit.map_or(usize::MAX, |limit| limit as usize);
    page.items.into_iter().filter(keep).take(limit).collect()
}

/// Whether the filter, if there is one, is met.
pub(crate) fn is_met(filter: Option<&String>, value: &str) -> bool {
    filter.is_none_or(|filter| filter == value)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A server with ten items, which it gives up to four at a time.
    async fn check(limit: u32, expect_items: usize, expect_queries: &[&str]) {
        let queries = RefCell::new(Vec::new());
        let fetch = async |query: &[(&str, String)]| {
            let text: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            queries.borrow_mut().push(text.join("&"));
            let value =
                |name| query.iter().find(|(n, _)| *n == name).map(|(_, v)| v.parse::<usize>().unwrap());
            let start = value("cursor").unwrap_or(0);
            let end = (start + value("limit").unwrap().min(4)).min(10);
            let next_cursor = (end < 10).then(|| end.to_string());
            Ok(Page { items: (start..end).collect::<Vec<_>>(), next_cursor })
        };
        let filters = vec![("trigger", Some("t".to_owned())), ("rule", None)];
        let items = collect(Limit { limit }, Format::Json, filters, fetch).await.unwrap();
        assert_eq!(items, (0..expect_items).collect::<Vec<_>>());
        assert_eq!(*queries.borrow(), expect_queries);
    }

    #[tokio::test]
    async fn test_pages_are_followed_up_to_the_limit() {
        check(3, 3, &["trigger=t&limit=3"]).await;
        check(4, 4, &["trigger=t&limit=4"]).await;
        check(6, 6, &["trigger=t&limit=6", "trigger=t&limit=2&cursor=4"]).await;
        let all = ["trigger=t&limit=100", "trigger=t&limit=100&cursor=4", "trigger=t&limit=100&cursor=8"];
        check(500, 10, &all).await;
    }

    #[test]
    fn test_definitions_are_filtered_and_limited() {
        let page = || Page { items: vec!["a", "b", "a", "a"], next_cursor: None };
        let limit = |limit| OptionalLimit { limit };
        assert_eq!(select(page(), limit(None), |item| *item == "a"), ["a", "a", "a"]);
        assert_eq!(select(page(), limit(Some(2)), |item| *item == "a"), ["a", "a"]);
        assert!(
            is_met(None, "x") && is_met(Some(&"x".to_owned()), "x") && !is_met(Some(&"y".to_owned()), "x")
        );
    }
}
