//! What a case says of mail and of other hosts: nothing of a test reaches them.

use serde_json::{Map, Value};

use crate::case::{ExpectedCommand, SshAnswer};
use crate::reader::{Item, MappingReader};

use super::number;

/// What `core.ssh` is answered.
pub(super) fn ssh_answers(mapping: &MappingReader<'_>) -> Vec<SshAnswer> {
    let items = mapping.optional("ssh").and_then(|item| item.list()).unwrap_or_default();
    items.iter().filter_map(|item| item.mapping().and_then(ssh_answer)).collect()
}

fn ssh_answer(mapping: MappingReader<'_>) -> Option<SshAnswer> {
    let host = mapping.optional_text("host");
    let command = mapping.required("command").and_then(|item| item.text().map(str::to_owned));
    let exit_code = number(&mapping, "exit_code", 0..=255).and_then(|code| u8::try_from(code).ok());
    let times = number(&mapping, "times", 1..=1000).and_then(|times| u32::try_from(times).ok());
    let output = |key| mapping.optional_text(key).unwrap_or_default();
    let (stdout, stderr) = (output("stdout"), output("stderr"));
    mapping.close();
    Some(SshAnswer { host, command: command?, exit_code: exit_code.unwrap_or(0), stdout, stderr, times })
}

/// The commands of `core.ssh` that are expected.
pub(super) fn commands(item: &Item<'_>) -> Option<Vec<ExpectedCommand>> {
    let command = |mapping: MappingReader<'_>| {
        let text = |key| mapping.required(key).and_then(|item| item.text().map(str::to_owned));
        let (host, command) = (text("host"), text("command"));
        let (user, stdin) = (mapping.optional_text("user"), mapping.optional_text("stdin"));
        mapping.close();
        Some(ExpectedCommand { host: host?, command: command?, user, stdin })
    };
    item.list()?.iter().map(|item| item.mapping().and_then(command)).collect()
}

/// The messages of `core.mail` that are expected, each by what its parameters have at least.
pub(super) fn messages(item: &Item<'_>) -> Option<Vec<Map<String, Value>>> {
    item.list()?.iter().map(|item| item.mapping().and_then(message)).collect()
}

fn message(mapping: MappingReader<'_>) -> Option<Map<String, Value>> {
    let mut message = Map::new();
    let mut is_sound = true;
    let mut take = |key: &'static str, read: &dyn Fn(&Item<'_>) -> Option<Value>| {
        let Some(item) = mapping.optional(key) else { return };
        match read(&item) {
            Some(value) => drop(message.insert(key.to_owned(), value)),
            None => is_sound = false,
        }
    };
    for key in ["host", "from", "reply_to", "subject", "text", "html"] {
        take(key, &|item| item.text().map(Value::from));
    }
    for key in ["to", "cc", "bcc"] {
        take(key, &|item| item.texts().map(Value::from));
    }
    take("attachments", &|item| {
        let attachments = item.list()?;
        attachments
            .iter()
            .map(|item| attachment(item.mapping()?))
            .collect::<Option<Vec<_>>>()
            .map(Value::from)
    });
    let is_known = mapping.close();
    (is_sound && is_known).then_some(message)
}

fn attachment(mapping: MappingReader<'_>) -> Option<Value> {
    let mut attachment = Map::new();
    for key in ["content_type", "text"] {
        attachment.extend(mapping.optional_text(key).map(|text| (key.to_owned(), text.into())));
    }
    let name = mapping.required("name").and_then(|item| item.text().map(str::to_owned));
    mapping.close();
    attachment.insert("name".to_owned(), name?.into());
    Some(Value::Object(attachment))
}
