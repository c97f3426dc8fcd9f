//! The keys that templates name: `key('ops.token')`.
//!
//! A name is a constant text, so that which secrets a template can reach is seen without an event; an event never chooses.

use std::collections::HashSet;

use super::{Node, TemplateError, TemplateErrorKind, ValueTemplate, engine, scan};

/// The function that stands for the value of a key.
pub const KEY_FUNCTION: &str = "key";

/// A key that a template names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// JSON pointer of the string that holds the template.
    pub pointer: String,
    /// Ref of the key.
    pub key_ref: String,
    /// The string as its author wrote it.
    source: String,
}

impl KeyUse {
    /// A fault of the use, told at its place.
    pub fn fault(&self, message: &str) -> TemplateError {
        TemplateError {
            kind: TemplateErrorKind::Failed,
            ..engine::syntax_error(&self.pointer, &self.source, message)
        }
    }
}

impl TemplateError {
    /// A fault of no template alone.
    pub fn failed(message: &str) -> Self {
        Self { kind: TemplateErrorKind::Failed, ..engine::syntax_error("", "", message) }
    }
}

impl ValueTemplate {
    /// The keys that the templates name, in their order; every place where the function is used in another way than with
    /// the ref of a key as a text.
    pub fn keys(&self) -> (Vec<KeyUse>, Vec<TemplateError>) {
        let mut found = Found::default();
        collect_keys(&self.root, &mut found);
        (found.uses, found.faults)
    }
}

fn collect_keys(node: &Node, found: &mut Found) {
    match node {
        Node::Static(_) => {}
        Node::Native(native) => {
            found.look(&native.pointer, &native.source, &native.roots());
        }
        Node::Text(text) => found.look(&text.pointer, &text.source, &text.roots()),
        Node::List(nodes) => nodes.iter().for_each(|node| collect_keys(node, found)),
        Node::Object(members) => members.iter().for_each(|(_, node)| collect_keys(node, found)),
    }
}

#[derive(Default)]
struct Found {
    uses: Vec<KeyUse>,
    faults: Vec<TemplateError>,
}

impl Found {
    fn look(&mut self, pointer: &str, source: &str, names: &HashSet<String>) {
        // A name that the template itself gives a value, such as that of a loop, is not the function. The engine does not
        // look into slices for names.
        if !names.contains(KEY_FUNCTION) && !scan::calls_function(source, KEY_FUNCTION) {
            return;
        }
        let fault = |message: &str| engine::syntax_error(pointer, source, message);
        let Some(refs) = scan::calls_with_text(source, KEY_FUNCTION) else {
            let message =
                "`key` stands for the value of a key and takes its ref as a text: `key('pack.name')`";
            return self.faults.push(fault(message));
        };
        for key_ref in refs {
            if is_ref(&key_ref) {
                self.uses.push(KeyUse { pointer: pointer.to_owned(), key_ref, source: source.to_owned() });
            } else {
                let message =
                    format!("`{key_ref}` cannot be the ref of a key, expected `pack.name` in lower case");
                self.faults.push(fault(&message));
            }
        }
    }
}

/// Whether it has the form of a ref; a mark can hold nothing else.
fn is_ref(text: &str) -> bool {
    let is_part = |part: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
        !part.is_empty() && part.bytes().all(plain)
    };
    text.split_once('.').is_some_and(|(pack, name)| is_part(pack) && is_part(name))
}
