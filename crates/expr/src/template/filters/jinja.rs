//! Jinja2's filters that the engine lacks, or whose arguments it takes by name only.

use std::borrow::Cow;

use minijinja::value::{Kwargs, Rest, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::filters as contributed;

use super::invalid;

/// The widest text that `center` makes; wider is a mistake.
const CENTER_LIMIT: usize = 10_000;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("center", center);
    environment.add_filter("filesizeformat", contributed::filesizeformat);
    environment.add_filter("pluralize", contributed::pluralize);
    environment.add_filter("striptags", contributed::striptags);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("wordwrap", wordwrap);
}

fn center(text: Cow<'_, str>, width: Option<usize>) -> Result<String, Error> {
    let width = width.unwrap_or(80);
    if width > CENTER_LIMIT {
        return Err(invalid(format!("`center` makes texts of at most {CENTER_LIMIT} characters")));
    }
    let missing = width.saturating_sub(text.chars().count());
    // Python puts the odd blank to the left when both width and gap are odd.
    let left = missing / 2 + (missing & width & 1);
    Ok(format!("{}{text}{}", " ".repeat(left), " ".repeat(missing - left)))
}

fn truncate(state: &mut State, text: Cow<'_, str>, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let named = by_name(&["length", "killwords", "end", "leeway"], arguments)?;
    contributed::truncate(state, &Value::from(text.as_ref()), named)
}

fn wordcount(text: Cow<'_, str>) -> Result<Value, Error> {
    contributed::wordcount(&Value::from(text.as_ref()))
}

fn wordwrap(text: Cow<'_, str>, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let named = by_name(&["width", "break_long_words", "wrapstring", "break_on_hyphens"], arguments)?;
    contributed::wordwrap(&Value::from(text.as_ref()), named)
}

/// Gives arguments by position the names they have in Jinja2.
fn by_name(names: &[&str], arguments: Rest<ValueOrKwargs>) -> Result<Kwargs, Error> {
    let arguments = arguments.into_values();
    let (positional, named): (&[Value], Kwargs) = from_args(&arguments)?;
    if positional.len() > names.len() {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut all: Vec<(String, Value)> = Vec::with_capacity(names.len());
    for name in named.args() {
        all.push((name.to_owned(), named.peek(name)?));
    }
    for (name, value) in names.iter().zip(positional) {
        if named.has(name) {
            return Err(invalid(format!("argument `{name}` is given twice")));
        }
        all.push(((*name).to_owned(), value.clone()));
    }
    Ok(all.into_iter().collect())
}
