//! Jinja templates in JSON values.
//!
//! [`ValueTemplate`] walks a JSON value once: strings with `{{` or `{%` become templates, everything else stays as it is.
//! A string that is one whole `{{ expression }}` keeps the type of its result; any other template gives text, with lists,
//! objects, `None` and `True` printed as Python prints them. A variable or field that does not exist is an error, never
//! an empty text. Work is limited, so that no template can stall whoever renders it.
//!
//! The language is Jinja2 with Python's methods on text and objects, Jinja2's filters (except `random`, because the same
//! event must always give the same parameters, and the HTML helpers `forceescape`, `urlize` and `xmlattr`) and
//! StackStorm's (except `decrypt_kv`, because secrets never pass through templates: `key` gives a mark). There is no `namespace`: a
//! value that grew without end in a loop would exhaust the stack of the process. Line breaks after block tags and
//! blanks before them are removed, as in StackStorm; the final line break of a text is kept. Stricter than Jinja2: `int`
//! and `float` fail on text that is no number instead of giving 0, and `%` does not format text (the filter `format` and
//! the method of that name do). Floats are printed in full (`10000000000000000.0`), never with an exponent.

mod constant;
mod engine;
mod filters;
mod jsonpath;
mod keys;
mod scan;

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::path::{FieldPath, Segment, Selection};
use crate::pointer;
use crate::scope::Scope;

use constant::Constant;

pub use constant::MembersRead;
pub use keys::{KEY_FUNCTION, KeyUse};

/// A JSON value whose strings may be templates, checked.
///
/// What the engine makes of a template is large, so that it is not kept here: the engine has it for the templates that are
/// in use, and most need nothing but a path.
pub struct ValueTemplate {
    root: Node,
    /// What is left of a root whose value is known: see [`ValueTemplate::with_constant`].
    constant: Option<Box<Constant>>,
}

/// What kind of fault a template has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateErrorKind {
    /// The text is not a valid template, or names an unknown filter or test.
    Syntax,
    /// A variable or field does not exist.
    Undefined,
    /// The template is more complex, did more work or wrote more text than it may.
    Limit,
    /// A filter, operator or function failed.
    Failed,
}

/// A fault in a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template `{expression}`{}: {message}", place(pointer))]
pub struct TemplateError {
    /// What kind of fault it is.
    pub kind: TemplateErrorKind,
    /// JSON pointer of the string that holds the template; empty for the value itself.
    pub pointer: String,
    /// The string as its author wrote it, shortened when long.
    pub expression: String,
    /// What is wrong and, for a missing field, which one.
    pub message: String,
    /// A nearby valid spelling.
    pub suggestion: Option<String>,
}

/// A root that a template reads, with the place of the template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RootUse {
    /// JSON pointer of the string that holds the template.
    pub pointer: String,
    /// Name of the root.
    pub root: String,
}

/// A field that a template reads, as far as its path does not depend on the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathUse {
    /// JSON pointer of the string that holds the template.
    pub pointer: String,
    /// The field; what a method is called on without the name of the method.
    pub path: FieldPath,
}

enum Node {
    /// Nothing below is a template.
    Static(Value),
    /// One whole `{{ expression }}`.
    Native(Box<Native>),
    /// Text with templates in it.
    Text(Box<Text>),
    List(Box<[Node]>),
    Object(Box<[(String, Node)]>),
}

struct Native {
    pointer: String,
    source: String,
    /// The expression again when it is nothing but a path, which is followed without the engine.
    path: Option<Arc<FieldPath>>,
}

struct Text {
    pointer: String,
    source: String,
    /// The text in pieces when all its templates are nothing but paths.
    parts: Option<Box<[Part]>>,
}

/// A piece of a text whose templates are nothing but paths.
#[derive(Debug)]
enum Part {
    Literal(String),
    Path(Arc<FieldPath>),
}

impl ValueTemplate {
    /// Compiles every template in a value. The first fault is reported, with its place.
    pub fn compile(value: &Value) -> Result<Self, TemplateError> {
        Ok(Self::of(compile_node(value, &mut String::new())?))
    }

    /// Compiles a text whose result is always text: one whole `{{ expression }}` does not keep its type.
    pub fn compile_text(text: &str) -> Result<Self, TemplateError> {
        engine::check_size(text, "")?;
        Ok(Self::of(compile_mixed(text, "")?))
    }

    /// Compiles one expression without braces around it, such as `event.payload.n + 1`; its result keeps its type.
    pub fn compile_expression(expression: &str) -> Result<Self, TemplateError> {
        // The engine's faults are told for the expression as it would stand in a template.
        let source = format!("{{{{ {} }}}}", expression.trim());
        engine::check_size(&source, "")?;
        let native = compile_native(expression, &source, "")
            .map_err(|error| engine::template_error(&error, "", &source))?;
        engine::check_names(&source, "")?;
        Ok(Self::of(Node::Native(Box::new(native))))
    }

    fn of(root: Node) -> Self {
        Self { root, constant: None }
    }

    /// Whether a root is one that the scope need not have.
    fn is_constant(&self, root: &str) -> bool {
        self.constant.as_ref().is_some_and(|constant| constant.name == root)
    }

    /// Every fault in the templates of a value, for reports that name all at once.
    pub fn faults(value: &Value) -> Vec<TemplateError> {
        let mut faults = Vec::new();
        collect_faults(value, &mut String::new(), &mut faults);
        faults
    }

    /// True when nothing in the value is a template, so that rendering only copies it.
    pub fn is_static(&self) -> bool {
        matches!(self.root, Node::Static(_))
    }

    /// The value itself when nothing in it is a template.
    pub fn as_static(&self) -> Option<&Value> {
        match &self.root {
            Node::Static(value) => Some(value),
            _ => None,
        }
    }

    /// The names that the templates take from the scope, to check them before anything is rendered.
    pub fn roots(&self) -> BTreeSet<RootUse> {
        let mut uses = BTreeSet::new();
        collect_roots(&self.root, &mut uses);
        uses.retain(|used| !self.is_constant(&used.root));
        uses
    }

    /// Paths that cover everything that the templates can read; a template that is more than an expression is taken to
    /// read all of every root that it names.
    pub fn fields(&self) -> Vec<FieldPath> {
        let mut fields = Vec::new();
        collect_fields(&self.root, &mut fields);
        fields.retain(|field| !self.is_constant(field.root()));
        fields
    }

    /// Whether the templates may read more than [`ValueTemplate::fields`] names: the engine does not look into slices
    /// (`x[:8]`) for names.
    pub fn has_slices(&self) -> bool {
        has_slices(&self.root)
    }

    /// The fields that the templates read, to check them before anything is rendered: of a path with a computed part what
    /// stands before it. A field is named once for each template.
    pub fn paths(&self) -> Vec<PathUse> {
        let mut uses = Vec::new();
        collect_paths(&self.root, &mut uses);
        uses.retain(|used| !self.is_constant(used.path.root()));
        uses
    }

    /// Renders every template with the values of a scope.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Value, TemplateError> {
        Renderer { scope, constant: self.constant.as_deref(), context: None }.node(&self.root)
    }
}

/// Told by its signs alone: one that is taken for a slice and is none costs speed and nothing else.
fn has_slices(node: &Node) -> bool {
    let may_slice = |source: &str| source.contains('[') && source.contains(':');
    match node {
        Node::Static(_) => false,
        Node::Native(native) => may_slice(&native.source),
        Node::Text(text) => text.parts.is_none() && may_slice(&text.source),
        Node::List(nodes) => nodes.iter().any(has_slices),
        Node::Object(members) => members.iter().any(|(_, node)| has_slices(node)),
    }
}

fn collect_fields(node: &Node, fields: &mut Vec<FieldPath>) {
    match node {
        Node::Static(_) => {}
        Node::Native(native) => match &native.path {
            Some(path) => fields.push(FieldPath::clone(path)),
            None => {
                let names = engine::expression(&native.source)
                    .map(|expression| expression.undeclared_variables(true))
                    .unwrap_or_default();
                fields.extend(names.iter().map(|name| scan::read_field(&native.source, name)));
            }
        },
        Node::Text(text) => match &text.parts {
            Some(parts) => {
                let of_part = |part: &Part| match part {
                    Part::Literal(_) => None,
                    Part::Path(path) => Some(FieldPath::clone(path)),
                };
                fields.extend(parts.iter().filter_map(of_part));
            }
            None => {
                let names =
                    engine::text(&text.source).map(|compiled| compiled.names(true)).unwrap_or_default();
                fields.extend(names.iter().map(|name| scan::read_field(&text.source, name)));
            }
        },
        Node::List(nodes) => nodes.iter().for_each(|node| collect_fields(node, fields)),
        Node::Object(members) => members.iter().for_each(|(_, node)| collect_fields(node, fields)),
    }
}

fn collect_paths(node: &Node, uses: &mut Vec<PathUse>) {
    let mut add = |pointer: &str, paths: Vec<FieldPath>| {
        uses.extend(paths.into_iter().map(|path| PathUse { pointer: pointer.to_owned(), path }));
    };
    match node {
        Node::Static(_) => {}
        Node::Native(native) => match &native.path {
            Some(path) => add(&native.pointer, vec![FieldPath::clone(path)]),
            None => {
                let expression = engine::expression(&native.source);
                let names = expression.map(|expression| expression.undeclared_variables(true));
                add(&native.pointer, paths_of(names.unwrap_or_default(), &native.source));
            }
        },
        Node::Text(text) => match &text.parts {
            Some(parts) => {
                let of_part = |part: &Part| match part {
                    Part::Literal(_) => None,
                    Part::Path(path) => Some(FieldPath::clone(path)),
                };
                add(&text.pointer, parts.iter().filter_map(of_part).collect());
            }
            None => {
                let names = engine::text(&text.source).map(|compiled| compiled.names(true));
                add(&text.pointer, paths_of(names.unwrap_or_default(), &text.source));
            }
        },
        Node::List(nodes) => nodes.iter().for_each(|node| collect_paths(node, uses)),
        Node::Object(members) => members.iter().for_each(|(_, node)| collect_paths(node, uses)),
    }
}

/// Dotted names as the engine gives them, in alphabetical order and as paths.
fn paths_of(names: HashSet<String>, source: &str) -> Vec<FieldPath> {
    let names: BTreeSet<String> = names.into_iter().collect();
    let path = |name: &String| {
        let mut steps = name.split('.');
        let root = steps.next()?.to_owned();
        let field = steps.take_while(|step| !scan::is_called(source, step));
        Some(FieldPath::new(root, field.map(|step| Segment::Key(step.to_owned())).collect()))
    };
    names.iter().filter_map(path).collect()
}

impl fmt::Debug for ValueTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueTemplate").field("is_static", &self.is_static()).finish_non_exhaustive()
    }
}

impl TemplateError {
    /// The same fault seen from further outside: `prefix` is put before the pointer.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}

fn place(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!(" at `{pointer}`") }
}

/// Whether a text holds a template at all.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

fn collect_faults(value: &Value, pointer: &mut String, faults: &mut Vec<TemplateError>) {
    let length = pointer.len();
    match value {
        Value::Array(elements) => {
            for (position, element) in elements.iter().enumerate() {
                pointer::push(pointer, &position.to_string());
                collect_faults(element, pointer, faults);
                pointer.truncate(length);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                pointer::push(pointer, key);
                faults.extend(refuse_template_key(key, pointer).err());
                collect_faults(member, pointer, faults);
                pointer.truncate(length);
            }
        }
        leaf => faults.extend(compile_node(leaf, pointer).err()),
    }
}

fn collect_roots(node: &Node, uses: &mut BTreeSet<RootUse>) {
    let mut add = |pointer: &str, names: HashSet<String>| {
        let names = names.into_iter().filter(|name| !engine::is_global(name));
        uses.extend(names.map(|root| RootUse { pointer: pointer.to_owned(), root }));
    };
    match node {
        Node::Static(_) => {}
        Node::Native(native) => add(&native.pointer, native.roots()),
        Node::Text(text) => add(&text.pointer, text.roots()),
        Node::List(nodes) => nodes.iter().for_each(|node| collect_roots(node, uses)),
        Node::Object(members) => members.iter().for_each(|(_, node)| collect_roots(node, uses)),
    }
}

impl Native {
    fn roots(&self) -> HashSet<String> {
        match &self.path {
            Some(path) => HashSet::from([path.root().to_owned()]),
            // It was compiled before, so that there is no fault.
            None => engine::expression(&self.source)
                .map(|expression| expression.undeclared_variables(false))
                .unwrap_or_default(),
        }
    }
}

impl Text {
    fn roots(&self) -> HashSet<String> {
        let of_part = |part: &Part| match part {
            Part::Literal(_) => None,
            Part::Path(path) => Some(path.root().to_owned()),
        };
        match &self.parts {
            Some(parts) => parts.iter().filter_map(of_part).collect(),
            None => engine::text(&self.source).map(|text| text.names(false)).unwrap_or_default(),
        }
    }
}

fn refuse_template_key(key: &str, pointer: &str) -> Result<(), TemplateError> {
    if !is_template(key) {
        return Ok(());
    }
    let message = "the name of a member cannot be a template; only values are rendered";
    Err(engine::syntax_error(pointer, key, message))
}

fn compile_node(value: &Value, pointer: &mut String) -> Result<Node, TemplateError> {
    let length = pointer.len();
    match value {
        Value::String(text) if is_template(text) => compile_text(text, pointer),
        Value::Array(elements) => {
            let mut nodes = Vec::with_capacity(elements.len());
            for (position, element) in elements.iter().enumerate() {
                pointer::push(pointer, &position.to_string());
                nodes.push(compile_node(element, pointer)?);
                pointer.truncate(length);
            }
            let is_static = nodes.iter().all(|node| matches!(node, Node::Static(_)));
            Ok(if is_static { Node::Static(value.clone()) } else { Node::List(nodes.into()) })
        }
        Value::Object(members) => {
            let mut nodes = Vec::with_capacity(members.len());
            for (key, member) in members {
                pointer::push(pointer, key);
                refuse_template_key(key, pointer)?;
                nodes.push((key.clone(), compile_node(member, pointer)?));
                pointer.truncate(length);
            }
            let is_static = nodes.iter().all(|(_, node)| matches!(node, Node::Static(_)));
            Ok(if is_static { Node::Static(value.clone()) } else { Node::Object(nodes.into()) })
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Node::Static(value.clone())),
    }
}

fn compile_text(text: &str, pointer: &str) -> Result<Node, TemplateError> {
    engine::check_size(text, pointer)?;
    if let Some(inner) = scan::whole_expression(text)
        && let Ok(native) = compile_native(inner, text, pointer)
    {
        engine::check_names(text, pointer)?;
        return Ok(Node::Native(Box::new(native)));
    }
    compile_mixed(text, pointer)
}

fn compile_native(expression: &str, source: &str, pointer: &str) -> Result<Native, minijinja::Error> {
    let path = scan::plain_path(expression);
    match path {
        Some(_) => engine::check_expression(source)?,
        None => drop(engine::expression(source)?),
    }
    Ok(Native { pointer: pointer.to_owned(), source: source.to_owned(), path })
}

/// A text in which literals and templates stand side by side.
fn compile_mixed(text: &str, pointer: &str) -> Result<Node, TemplateError> {
    let parts = compile_parts(text);
    let checked = if parts.is_some() { engine::check_text(text) } else { engine::text(text).map(drop) };
    checked.map_err(|error| engine::template_error(&error, pointer, text))?;
    engine::check_names(text, pointer)?;
    Ok(Node::Text(Box::new(Text { pointer: pointer.to_owned(), source: text.to_owned(), parts })))
}

fn compile_parts(text: &str) -> Option<Box<[Part]>> {
    let part = |piece| match piece {
        scan::Piece::Literal(literal) => Part::Literal(literal.to_owned()),
        scan::Piece::Path(path) => Part::Path(path),
    };
    Some(scan::path_pieces(text)?.into_iter().map(part).collect())
}

/// One rendering; the engine's form of the scope is made when the first template needs it, and only once.
struct Renderer<'r, 's> {
    scope: &'r Scope<'s>,
    constant: Option<&'r Constant>,
    context: Option<minijinja::Value>,
}

impl Renderer<'_, '_> {
    fn node(&mut self, node: &Node) -> Result<Value, TemplateError> {
        match node {
            Node::Static(value) => Ok(value.clone()),
            Node::Native(native) => self.native(native),
            Node::Text(text) => self.text(text).map(Value::String),
            Node::List(nodes) => {
                nodes.iter().map(|node| self.node(node)).collect::<Result<_, _>>().map(Value::Array)
            }
            Node::Object(members) => {
                let rendered = members.iter().map(|(key, node)| Ok((key.clone(), self.node(node)?)));
                rendered.collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
        }
    }

    fn native(&mut self, native: &Native) -> Result<Value, TemplateError> {
        // What the path does not find is left to the engine, which knows how to say so.
        if let Some(path) = &native.path
            && !self.is_constant(path)
            && let Selection::One(value) = path.select(self.scope)
        {
            return Ok(value.clone());
        }
        let context = self.context();
        let result = engine::expression(&native.source)
            .and_then(|expression| expression.eval(context.clone()))
            .and_then(|value| engine::to_json(&value));
        result.map_err(|error| {
            let error = engine::naming_undefined(error, &native.source, context);
            engine::template_error(&error, &native.pointer, &native.source)
        })
    }

    fn text(&mut self, text: &Text) -> Result<String, TemplateError> {
        if let Some(joined) = text.parts.as_deref().and_then(|parts| self.join(parts)) {
            return Ok(joined);
        }
        let context = self.context();
        let rendered = engine::text(&text.source).and_then(|template| template.render(context));
        rendered.map_err(|error| engine::template_error(&error, &text.pointer, &text.source))
    }

    /// Joins literals and what the paths find; `None` when one finds nothing.
    fn join(&self, parts: &[Part]) -> Option<String> {
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                // What is found of a constant is a literal already.
                Part::Path(path) if self.is_constant(path) => return None,
                Part::Path(path) => match path.select(self.scope) {
                    Selection::One(Value::String(found)) => text.push_str(found),
                    Selection::One(value) => text.push_str(&engine::to_engine(value).to_string()),
                    Selection::None | Selection::Many(_) => return None,
                },
            }
        }
        (text.len() <= engine::TEXT_LIMIT).then_some(text)
    }

    fn is_constant(&self, path: &FieldPath) -> bool {
        self.constant.is_some_and(|constant| constant.name == path.root())
    }

    fn context(&mut self) -> minijinja::Value {
        let (scope, constant) = (self.scope, self.constant);
        let made = || match constant {
            Some(Constant { name, value }) => engine::context(&scope.clone().with(name, value)),
            None => engine::context(scope),
        };
        self.context.get_or_insert_with(made).clone()
    }
}
