//! Whole packs: everything at once, in order.

use attune_pack::{PackFile, read};
use proptest::prelude::*;

use crate::{files, findings};

#[test]
fn test_every_fault_of_every_file_at_once() {
    let pack = files(&[
        ("pack.yaml", "ref: shop\nversion: 1.0\nautor: Ada\n"),
        ("action/refund.yaml", "ref: shop.refund\nruntime: core.shell\nentrypoint: refund.sh\n"),
        (
            "actions/ship.yaml",
            "ref: shop.ship\nruntime: core.pyhton\nentrypoint: shp.py\nparamaters:\n  order: {type: integer}\ntimeout: 5 minutes\n",
        ),
        ("actions/ship.py", "print('shipped')\n"),
        (
            "actions/pay.yaml",
            "ref: store.pay\nruntime: core.native\nentrypoint: echo\nparameters: {amount: {type: money}}\n",
        ),
        (
            "triggers/order.yaml",
            "ref: shop.order\nwebhook:\n  signature: {scheme: gitub, secret: shop.secret}\n",
        ),
        ("triggers/order_again.yaml", "ref: shop.order\n"),
        (
            "sensors/stock.yaml",
            "ref: shop.stock\nruntime: core.python\nentrypoint: stock.py\ntriggers: shop.order\n",
        ),
        (
            "rules/ship.yaml",
            "ref: shop.ship\ntrigger: shop.ordr\nconditions:\n  - {field: event.payload.total, operator: more_than, value: 5}\naction: shop.ship\naction_params:\n  order: \"{{ event.payload.id \"\n",
        ),
        ("rules/broken.yaml", "ref: shop.broken\ntrigger: [shop.order\n"),
        ("permissions/clerk.yaml", "ref: shop.clerk\ngrants:\n  - {resource: execution, action: [read]}\n"),
    ]);
    insta::assert_snapshot!(findings(&pack).join("\n"));
    insta::assert_json_snapshot!(read(&pack).unwrap_err());
}

/// Files without faults that have every kind of key.
const SOUND: [(&str, &str); 7] = [
    ("pack.yaml", "ref: ops\nversion: 1.0.0\ntags: [a]\nmeta: {a: &a [1, 2.5, null], b: *a}\n"),
    ("runtimes/r.yaml", "ref: ops.r\ninterpreter: [sh, -e]\n"),
    (
        "actions/a.yaml",
        "ref: ops.a\nruntime: ops.r\nentrypoint: a.yaml\ntimeout: 5m\nparameter_delivery: env\n\
         parameters:\n  text: {type: string, required: true}\n  level: {type: integer, default: 1}\n",
    ),
    (
        "triggers/t.yaml",
        "ref: ops.t\nparameters: {path: {type: string}}\n\
         webhook: {signature: {scheme: hmac_sha256, secret: ops.k, header: X-S}, delivery_id_header: X-D}\n",
    ),
    (
        "sensors/s.yaml",
        "ref: ops.s\nruntime: ops.r\nentrypoint: s.yaml\ntriggers: [ops.t]\nconfig: {a: {b: [1]}}\n",
    ),
    (
        "rules/r.yaml",
        "ref: ops.r\ntrigger: ops.t\ntrigger_params: {path: p}\ncondition: any\nconditions:\n  \
         - {field: event.payload.a, operator: in, value: [1, 2]}\n  - not: {any: [\"{{ event.payload.b }}\"]}\n\
         action: ops.a\naction_params:\n  text: \"a {{ event.payload['a'] }}\"\n",
    ),
    ("permissions/p.yaml", "ref: ops.p\ngrants:\n  - {resource: execution, actions: [read, '*']}\n"),
];

#[test]
fn test_the_sound_files_are_sound() {
    assert_eq!(findings(&files(&SOUND)), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to a file, reading ends, and what it finds stands in the file.
    #[test]
    fn prop_findings_of_damaged_files_have_a_place(
        which in 0..SOUND.len(),
        start in 0.0..1.0_f64,
        length in 0_usize..12,
        inserted in "([ \\n:{}\\[\\]*&'\"|>#%,~-]|[a-z0-9é]){0,8}",
    ) {
        let (path, text) = SOUND[which];
        let count = text.chars().count();
        let start = (start * count as f64) as usize;
        let damaged: String =
            text.chars().take(start).chain(inserted.chars()).chain(text.chars().skip(start + length)).collect();
        let mut pack = files(&SOUND);
        pack.insert(path.to_owned(), PackFile { content: damaged.clone().into_bytes(), executable: false });
        for finding in read(&pack).err().unwrap_or_default() {
            let content = String::from_utf8(pack[&finding.file].content.clone()).unwrap();
            let lines: Vec<&str> = content.split('\n').collect();
            prop_assert!(finding.line >= 1 && finding.line as usize <= lines.len() + 1, "{finding}\n{damaged}");
            let line = lines.get(finding.line as usize - 1).copied().unwrap_or_default();
            let width = line.chars().count() + 1;
            prop_assert!(finding.column >= 1 && finding.column as usize <= width, "{finding}\n{damaged}");
            if let Some(end) = finding.end {
                let line = lines.get(end.line as usize - 1);
                let width = line.map(|line| line.chars().count());
                prop_assert!(width.is_some_and(|width| end.column as usize <= width + 1), "{finding}: {end:?}\n{damaged}");
                let begin = (finding.line, finding.column);
                prop_assert!(begin < (end.line, end.column), "{finding}: {end:?}\n{damaged}");
            }
            prop_assert!(!finding.message.is_empty());
        }
    }

    #[test]
    fn prop_bytes_are_read_or_refused(content in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut pack = files(&SOUND);
        pack.insert("actions/b.yaml".to_owned(), PackFile { content, executable: false });
        prop_assert!(read(&pack).is_err());
    }
}
