//! What several kinds of component have in common.

use std::path::{Component as PathPart, Path};

use attune_expr::form;
use attune_expr::suggest::nearest;

use crate::definition::RuntimeDefinition;
use crate::finding::Located;
use crate::form::Member;
use crate::reader::{Item, MappingReader, shortened};
use crate::value::{ComponentRef, Text};
use crate::{PackFiles, reference};

use super::{Place, is_yaml};

/// The runtime of the core pack that the worker runs itself; the only one that other packs can know to be native.
const CORE_NATIVE: &str = "core.native";
/// The runtime of the core pack that executes the entrypoint itself.
const CORE_EXECUTABLE: &str = "core.executable";

form! {
    /// What names a component.
    pub(super) struct RefForm<'f> of MappingReader<'f> {
        /// Its name in all of Attune: the pack's ref, a dot, and a name of its own.
        required r#ref: ComponentRef,
    }
}

form! {
    /// What components have that people are shown.
    pub(super) struct ComponentForm<'f> of MappingReader<'f> {
        with named: RefForm<'f>,
        /// Its name for people.
        optional label: Text,
        /// What it is for.
        optional description: Text,
    }
}

/// `ref`, `label` and `description`.
#[derive(Debug)]
pub(super) struct Component {
    /// The ref when it may be used.
    pub(super) r#ref: Option<String>,
    pub(super) label: Option<String>,
    pub(super) description: Option<String>,
}

impl ComponentForm<'_> {
    pub(super) fn read(&self, pack_ref: Option<&str>) -> Component {
        Component {
            r#ref: self.named.read(pack_ref),
            label: self.label.read(),
            description: self.description.read(),
        }
    }
}

impl RefForm<'_> {
    /// The ref as it stands there, good or not.
    pub(super) fn given(&self) -> Option<Located<String>> {
        self.r#ref.located()
    }

    /// The ref when it may be used.
    pub(super) fn read(&self, pack_ref: Option<&str>) -> Option<String> {
        let item = self.r#ref.item()?;
        own_ref(item, item.text()?, pack_ref)
    }
}

impl Member<'_, ComponentRef> {
    /// The ref of a component of any pack; `known` are those that may have been meant.
    pub(super) fn known<'k>(&self, known: impl IntoIterator<Item = &'k str>) -> Option<Located<String>> {
        self.item()?.component_ref(known)
    }
}

fn own_ref(item: &Item<'_>, given: &str, pack_ref: Option<&str>) -> Option<String> {
    let own = |name: &str| pack_ref.map(|pack| format!("{pack}.{name}"));
    let Some((pack, name)) = reference::split(given) else {
        let tidy = reference::tidy(given);
        let meant = match tidy.split_once('.') {
            Some((pack, name)) => own(name).or_else(|| Some(format!("{pack}.{name}"))),
            None => own(&tidy),
        };
        let meant = meant.filter(|meant| reference::split(meant).is_some());
        let finding = item.finding(format!("`ref` `{}` is not a valid ref", shortened(given)));
        item.add(finding.expected(reference::COMPONENT_FORM).suggestion(meant));
        return None;
    };
    if let Some(own_pack) = pack_ref
        && own_pack != pack
    {
        let finding = item.finding(format!("`ref` `{given}` is not in this pack, which is `{own_pack}`"));
        item.add(finding.expected(format!("a ref that begins with `{own_pack}.`")).suggestion(own(name)));
        return None;
    }
    Some(given.to_owned())
}

/// What is known here of a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuntimeKind {
    /// The worker runs it itself.
    Native,
    /// The entrypoint itself is executed.
    Direct,
    /// An interpreter runs the entrypoint, or the runtime is another pack's.
    Other,
}

impl RuntimeKind {
    /// The kind of a runtime of this pack, or of one of those in the core pack that have a meaning of their own.
    pub(super) fn of(runtime: &str, runtimes: &[RuntimeDefinition]) -> Self {
        match runtimes.iter().find(|known| known.r#ref == runtime) {
            Some(known) if known.native => Self::Native,
            Some(known) if known.interpreter.is_empty() => Self::Direct,
            Some(_) => Self::Other,
            None if runtime == CORE_NATIVE => Self::Native,
            None if runtime == CORE_EXECUTABLE => Self::Direct,
            None => Self::Other,
        }
    }
}

/// The path of a file in the directory of the component's kind.
pub(super) fn entrypoint_file(item: &Item<'_>, kind: RuntimeKind, place: &Place<'_>) -> Option<String> {
    let given = item.text()?;
    let directory = place.directory;
    let plain = Path::new(given).components().all(|part| matches!(part, PathPart::Normal(_)));
    // `a//b` and `a/./b` have plain parts only, but are not the path of any file of a pack.
    let normal = plain && !given.contains("//") && !given.contains("/./") && !given.ends_with('/');
    if !normal || given.contains('\\') {
        let finding =
            item.finding(format!("`{}` `{}` is not a plain relative path", item.name(), shortened(given)));
        item.add(finding.expected(format!("the path of a file below `{directory}/`, such as `run.sh`")));
        return None;
    }
    let path = format!("{directory}/{given}");
    let Some(file) = place.files.get(&path) else {
        let finding = item.finding(format!("the pack has no file `{path}`"));
        let meant = nearest(given, candidates(place.files, directory));
        item.add(finding.expected(format!("the path of a file below `{directory}/`")).suggestion(meant));
        return None;
    };
    if kind == RuntimeKind::Direct && !file.executable {
        let finding = item.finding(format!("`{path}` is not executable, but its runtime has no interpreter"));
        item.add(
            finding
                .expected(format!("its mode changed (`chmod +x {path}`), or a runtime with an interpreter")),
        );
        return None;
    }
    Some(given.to_owned())
}

/// Files that can be entrypoints, relative to their directory.
fn candidates<'f>(files: &'f PackFiles, directory: &str) -> impl Iterator<Item = &'f str> {
    let prefix = format!("{directory}/");
    files.keys().filter_map(move |path| path.strip_prefix(&prefix)).filter(|path| !is_yaml(path))
}
