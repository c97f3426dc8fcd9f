//! A pack to install.

use std::collections::BTreeMap;

use attune_client::types::PackInstalled;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::app::TestApp;

pub(crate) const PACK: &str = "\
ref: demo
version: 1.0.0
description: For tests
";

pub(crate) const RUNTIME: &str = "\
ref: demo.shell
interpreter: [/bin/sh]
";

pub(crate) const PAGE: &str = "\
ref: demo.page
runtime: demo.shell
entrypoint: page.sh
parameters:
  text: {type: string, required: true}
  retries: {type: integer, default: 3, minimum: 0}
  token: {type: string, secret: true}
";

/// A trigger for events by the API.
pub(crate) const ALERT: &str = "\
ref: demo.alert
parameters:
  team: {type: string}
";

/// A trigger with a signed webhook.
pub(crate) const PUSH: &str = "\
ref: demo.push
webhook:
  signature: {scheme: github, secret: demo.push_secret}
";

/// A trigger whose webhook takes everything.
pub(crate) const OPEN: &str = "\
ref: demo.open
webhook:
  delivery_id_header: X-Delivery
";

pub(crate) const RULE: &str = "\
ref: demo.page_on_alert
trigger: demo.alert
trigger_params:
  team: ops
conditions:
  - {field: event.payload.severity, operator: equals, value: critical}
action: demo.page
action_params:
  text: '{{ event.payload.summary }}'
";

pub(crate) type Files = BTreeMap<String, String>;

/// The files of the demo pack.
pub(crate) fn files() -> Files {
    let files = [
        ("pack.yaml", PACK),
        ("runtimes/shell.yaml", RUNTIME),
        ("actions/page.yaml", PAGE),
        ("actions/page.sh", "echo page\n"),
        ("triggers/alert.yaml", ALERT),
        ("triggers/push.yaml", PUSH),
        ("triggers/open.yaml", OPEN),
        ("rules/page_on_alert.yaml", RULE),
    ];
    files.into_iter().map(|(path, content)| (path.to_owned(), content.to_owned())).collect()
}

/// The demo pack with some files replaced; an empty content takes a file away.
pub(crate) fn files_with(changes: &[(&str, &str)]) -> Files {
    let mut files = files();
    for (path, content) in changes {
        if content.is_empty() {
            files.remove(*path);
        } else {
            files.insert((*path).to_owned(), (*content).to_owned());
        }
    }
    files
}

/// A pack of these files alone.
pub(crate) fn only(files: &[(&str, &str)]) -> Files {
    files.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect()
}

pub(crate) fn archive(files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(if path.ends_with(".sh") { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

pub(crate) async fn install(app: &TestApp) -> PackInstalled {
    app.admin.install_pack(archive(&files()), "test").await.unwrap()
}

/// The path of a trigger's webhook.
pub(crate) fn webhook<'a>(installed: &'a PackInstalled, trigger: &str) -> &'a str {
    &installed.webhooks.iter().find(|webhook| webhook.trigger == trigger).unwrap().path
}
