//! The template engine: its configuration, the way of values in and out, and its faults in our words.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, context};
use minijinja_contrib::{globals, pycompat};
use serde_json::{Map, Number, Value};

use super::filters::{self, Complex};
use super::scan::{self, Name};
use super::{TemplateError, TemplateErrorKind};
use crate::cache::Cache;
use crate::scope::Scope;
use crate::suggest::nearest;

/// How much work one template may do: an instruction costs one, and so do 64 bytes of text made on the way.
const FUEL: u64 = 200_000;

/// How long a text may get that is made without the engine; with it, fuel sets the same bound.
pub(super) const TEXT_LIMIT: usize = 64 * FUEL as usize;

/// How much of a template an error shows.
const SHOWN_CHARACTERS: usize = 200;

/// The engine's own filters, and [`filters::NAMES`] are ours; only used to suggest a spelling.
const BUILT_IN_FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "center",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pluralize",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
    "wordwrap",
    "zip",
];

/// The engine's tests; only used to suggest a spelling.
const BUILT_IN_TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

static BASE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    // Only in this mode does an error name the field that is missing. What else it collects is never shown.
    environment.set_debug(true);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(pycompat::unknown_method_callback);
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    environment.set_syntax(syntax.unwrap_or_default());
    // `debug()` prints every variable in reach.
    environment.remove_global("debug");
    // A namespace can hold itself, or a list that grows a level each round of a loop; printing or dropping such a value
    // exhausts the stack of the process.
    environment.remove_global("namespace");
    environment.add_function("cycler", globals::cycler);
    environment.add_function("joiner", globals::joiner);
    filters::register(&mut environment);
    environment
});

/// Templates of each sort that are kept compiled at least, while they are in use. Each is of 10 KB or more.
const KEPT: usize = 1_024;

static EXPRESSIONS: Cache<Expression> = Cache::new(KEPT);
static TEXTS: Cache<Text> = Cache::new(KEPT);

type Expression = minijinja::Expression<'static, 'static>;

/// A text with templates in it, compiled.
pub(super) struct Text(Environment<'static>);

/// The compiled form of a text that is one whole `{{ expression }}`.
pub(super) fn expression(source: &str) -> Result<Arc<Expression>, Error> {
    EXPRESSIONS.get(source, || compile_expression(source))
}

/// The compiled form of a text with templates in it.
pub(super) fn text(source: &str) -> Result<Arc<Text>, Error> {
    TEXTS.get(source, || Text::compile(source))
}

/// [`expression`] for one whose compiled form will hardly be needed.
pub(super) fn check_expression(source: &str) -> Result<(), Error> {
    compile_expression(source).map(drop)
}

/// [`text`] for one whose compiled form will hardly be needed.
pub(super) fn check_text(source: &str) -> Result<(), Error> {
    Text::compile(source).map(drop)
}

fn compile_expression(source: &str) -> Result<Expression, Error> {
    BASE.compile_expression_owned(scan::whole_expression(source).unwrap_or(source).to_owned())
}

impl Text {
    const NAME: &str = "text";

    fn compile(source: &str) -> Result<Self, Error> {
        let mut environment = BASE.clone();
        environment.add_template_owned(Self::NAME, source.to_owned())?;
        Ok(Self(environment))
    }

    pub(super) fn render(&self, context: minijinja::Value) -> Result<String, Error> {
        self.0.get_template(Self::NAME)?.render(context)
    }

    /// The names that it takes from the scope, with the fields behind them if these are wanted.
    pub(super) fn names(&self, nested: bool) -> HashSet<String> {
        let template = self.0.get_template(Self::NAME);
        template.map(|template| template.undeclared_variables(nested)).unwrap_or_default()
    }
}

/// Whether a name is a function of the engine, so that it need not be in the scope.
pub(super) fn is_global(name: &str) -> bool {
    BASE.globals().any(|(global, _)| global == name)
}

/// The scope in the engine's form.
pub(super) fn context(scope: &Scope<'_>) -> minijinja::Value {
    minijinja::Value::from_pairs(scope.engine_roots())
}

/// A JSON value in the engine's form.
pub(super) fn to_engine(value: &Value) -> minijinja::Value {
    minijinja::Value::from(Serde(value))
}

/// What a template made as JSON. Nothing is lost silently: an undefined part, a function or a number that JSON does not
/// have is an error.
pub(super) fn to_json(value: &minijinja::Value) -> Result<Value, Error> {
    if let Some(complex) = value.downcast_object_ref::<Complex>() {
        return Ok(complex.value().clone());
    }
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => number_to_json(value),
        ValueKind::String => Ok(Value::String(value.as_str().unwrap_or_default().to_owned())),
        ValueKind::Seq | ValueKind::Iterable => {
            let elements = value.try_iter()?.checked().map(|element| to_json(&element?));
            elements.collect::<Result<_, _>>().map(Value::Array)
        }
        ValueKind::Map => {
            let mut members = Map::new();
            for key in value.try_iter()?.checked() {
                let key = key?;
                let member = to_json(&value.get_item(&key)?)?;
                members.insert(key.to_string(), member);
            }
            Ok(Value::Object(members))
        }
        other => Err(Error::new(ErrorKind::BadSerialization, format!("{other} cannot be a value in JSON"))),
    }
}

fn number_to_json(value: &minijinja::Value) -> Result<Value, Error> {
    let number = if value.is_integer() {
        let signed = i64::try_from(value.clone()).ok().map(Number::from);
        signed.or_else(|| u64::try_from(value.clone()).ok().map(Number::from))
    } else {
        f64::try_from(value.clone()).ok().and_then(Number::from_f64)
    };
    number
        .map(Value::Number)
        .ok_or_else(|| Error::new(ErrorKind::BadSerialization, "the number is too large or not a number"))
}

/// Refuses a template that names a filter or test that does not exist; the engine itself would only notice on use.
pub(super) fn check_names(text: &str, pointer: &str) -> Result<(), TemplateError> {
    for name in scan::names(text) {
        let (question, name, what, known) = match &name {
            Name::Filter(name) => ("name is filter", name, "filter", [BUILT_IN_FILTERS, filters::NAMES]),
            Name::Test(name) => ("name is test", name, "test", [BUILT_IN_TESTS, &[]]),
        };
        let exists = BASE.compile_expression(question).and_then(|question| question.eval(context! { name }));
        if !exists.is_ok_and(|answer| answer.is_true()) {
            let mut error = syntax_error(pointer, text, &format!("unknown {what} `{name}`"));
            error.suggestion = nearest(name, known.concat()).map(str::to_owned);
            return Err(error);
        }
    }
    Ok(())
}

/// Refuses a template that the engine's compiler could not take without exhausting its stack.
pub(super) fn check_size(text: &str, pointer: &str) -> Result<(), TemplateError> {
    match scan::excess(text) {
        None => Ok(()),
        Some(message) => {
            Err(TemplateError { kind: TemplateErrorKind::Limit, ..syntax_error(pointer, text, &message) })
        }
    }
}

/// A result that is undefined as a whole does not say which field is missing; printing it does.
pub(super) fn naming_undefined(error: Error, source: &str, context: minijinja::Value) -> Error {
    if error.kind() != ErrorKind::UndefinedError || error.detail().is_some() {
        return error;
    }
    match BASE.render_str(source, context) {
        Err(named) if named.kind() == ErrorKind::UndefinedError => named,
        _ => error,
    }
}

pub(super) fn syntax_error(pointer: &str, text: &str, message: &str) -> TemplateError {
    TemplateError {
        kind: TemplateErrorKind::Syntax,
        pointer: pointer.to_owned(),
        expression: shortened(text),
        message: message.to_owned(),
        suggestion: None,
    }
}

/// The engine's error in our words.
pub(super) fn template_error(error: &Error, pointer: &str, text: &str) -> TemplateError {
    let kind = match error.kind() {
        ErrorKind::SyntaxError
        | ErrorKind::BadEscape
        | ErrorKind::UnknownFilter
        | ErrorKind::UnknownTest
        | ErrorKind::InvalidDelimiter => TemplateErrorKind::Syntax,
        ErrorKind::UndefinedError => TemplateErrorKind::Undefined,
        ErrorKind::OutOfFuel => TemplateErrorKind::Limit,
        // `{{ missing + 1 }}` is an invalid operation to the engine, which then says what is missing.
        _ if error.detail().is_some_and(|detail| detail.contains("` is undefined")) => {
            TemplateErrorKind::Undefined
        }
        _ => TemplateErrorKind::Failed,
    };
    let message = match (kind, error.detail()) {
        (TemplateErrorKind::Limit, _) => {
            "it does too much work or writes too much text for one template".to_owned()
        }
        (TemplateErrorKind::Undefined, detail) => detail.map_or_else(
            || "the result is undefined: a name or field does not exist".to_owned(),
            str::to_owned,
        ),
        (_, Some(detail)) => detail.to_owned(),
        (_, None) => error.kind().to_string(),
    };
    TemplateError {
        kind,
        pointer: pointer.to_owned(),
        expression: shortened(text),
        message,
        suggestion: None,
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_suggested_names_exist() {
        let exists = |question: &str, name: &str| {
            BASE.compile_expression(question).unwrap().eval(context! { name }).unwrap().is_true()
        };
        for name in BUILT_IN_FILTERS.iter().chain(filters::NAMES) {
            assert!(exists("name is filter", name), "{name}");
        }
        for name in BUILT_IN_TESTS {
            assert!(exists("name is test", name), "{name}");
        }
        assert!(!exists("name is filter", "nope"));
    }

    #[test]
    fn test_syntax_configuration_is_accepted() {
        assert_eq!(BASE.render_str("{% if true %}\nx\n{% endif %}\n", ()).unwrap(), "x\n");
    }
}
