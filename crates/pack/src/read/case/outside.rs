//! What a case says of mail and of other hosts: nothing of a test reaches them.

use attune_expr::form;
use attune_expr::form::{Described, Form};
use serde_json::{Map, Value};

use crate::case::{ExpectedCommand, SshAnswer};
use crate::form::{FileForm, Member, Readable};
use crate::reader::{Item, MappingReader};
use crate::value::{Text, Whole};

form! {
    /// What a command on a host is answered.
    struct AnswerForm<'f> of MappingReader<'f> {
        /// Which host; any unless said.
        optional host: Text,
        /// The whole command.
        required command: Text,
        /// The exit code; 0 unless said.
        optional exit_code: Whole<0, 255>,
        /// The standard output.
        optional stdout: Text,
        /// The standard error.
        optional stderr: Text,
        /// How often; always unless said.
        optional times: Whole<1, 1000>,
    }
}

form! {
    /// A command that is expected.
    struct CommandForm<'f> of MappingReader<'f> {
        /// The host as the action names it.
        required host: Text,
        /// The whole command.
        required command: Text,
        /// The account on the host.
        optional user: Text,
        /// What the command is given to read.
        optional stdin: Text,
    }
}

form! {
    /// A message that is expected.
    struct MessageForm<'f> of MappingReader<'f> {
        /// The server that would have been asked.
        optional host: Text,
        /// The sender.
        optional from: Text,
        /// The recipients.
        optional to: Vec<Text>,
        /// Those who get a copy.
        optional cc: Vec<Text>,
        /// Those who get a copy that nobody sees.
        optional bcc: Vec<Text>,
        /// Where answers go.
        optional reply_to: Text,
        /// The subject.
        optional subject: Text,
        /// The text.
        optional text: Text,
        /// The text as HTML.
        optional html: Text,
        /// The attachments, all of them.
        optional attachments: Vec<Attachment>,
    }
}

form! {
    /// An attachment.
    struct AttachmentForm<'f> of MappingReader<'f> {
        /// The name of the file.
        required name: Text,
        /// Its media type.
        optional content_type: Text,
        /// Its content, where it was given as text.
        optional text: Text,
    }
}

impl Described for SshAnswer {
    fn schema() -> Value {
        AnswerForm::shape().schema()
    }
}

impl Readable for SshAnswer {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = AnswerForm::of(item)?;
        let (host, command) = (form.host.read(), form.command.read());
        let exit_code = form.exit_code.read().and_then(|code| u8::try_from(code).ok());
        let (stdout, stderr) = (form.stdout.read(), form.stderr.read());
        let times = form.times.read();
        Some(Self {
            host,
            command: command?,
            exit_code: exit_code.unwrap_or(0),
            stdout: stdout.unwrap_or_default(),
            stderr: stderr.unwrap_or_default(),
            times,
        })
    }
}

impl Described for ExpectedCommand {
    fn schema() -> Value {
        CommandForm::shape().schema()
    }
}

impl Readable for ExpectedCommand {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = CommandForm::of(item)?;
        let (host, command) = (form.host.read(), form.command.read());
        let (user, stdin) = (form.user.read(), form.stdin.read());
        Some(Self { host: host?, command: command?, user, stdin })
    }
}

/// A message of `core.mail` that is expected, by what its parameters have at least.
#[derive(Debug)]
pub(super) struct Message;

impl Described for Message {
    fn schema() -> Value {
        MessageForm::shape().schema()
    }
}

impl Readable for Message {
    type Value = Map<String, Value>;

    fn read(item: &Item<'_>) -> Option<Self::Value> {
        let form = MessageForm::of(item)?;
        let texts = [&form.host, &form.from, &form.reply_to, &form.subject, &form.text, &form.html];
        let lists = [&form.to, &form.cc, &form.bcc];
        let texts = texts.into_iter().filter_map(member);
        let lists = lists.into_iter().filter_map(member);
        Some(texts.chain(lists).chain(member(&form.attachments)).collect())
    }
}

/// An attachment of such a message.
#[derive(Debug)]
struct Attachment;

impl Described for Attachment {
    fn schema() -> Value {
        AttachmentForm::shape().schema()
    }
}

impl Readable for Attachment {
    type Value = Value;

    fn read(item: &Item<'_>) -> Option<Value> {
        let form = AttachmentForm::of(item)?;
        let members = [&form.name, &form.content_type, &form.text];
        Some(Value::Object(members.into_iter().filter_map(member).collect()))
    }
}

/// A key with its value as JSON, if it is there.
fn member<K: Readable<Value: Into<Value>>>(member: &Member<'_, K>) -> Option<(String, Value)> {
    Some((member.name().to_owned(), member.read()?.into()))
}
