//! Packs and indexes that are fetched over HTTP.

use attune_pack::archive::{Limits, pack, unpack};
use attune_pack::{PackFile, PackFiles};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{MOMENT, Reply, Request, Server, User};

fn archive(manifest: &str) -> Vec<u8> {
    let file = PackFile { content: manifest.as_bytes().to_vec(), executable: false };
    pack(&PackFiles::from([("pack.yaml".to_owned(), file)])).unwrap()
}

fn sum(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn installed() -> Value {
    json!({
        "ref": "linux", "label": "Linux", "description": null, "version": "1.2.0", "author": null, "tags": [],
        "is_standard": false, "source": null, "checksum": "00ff", "created": MOMENT, "updated": MOMENT,
        "runtimes": [], "actions": [], "triggers": [], "sensors": [], "rules": [], "permission_sets": [],
        "policies": [], "queues": [], "outcome": "installed", "webhooks": [],
    })
}

/// Where packs are published, and a server of Attune, in one: both are only HTTP to the client.
fn serving(files: Vec<(&'static str, Vec<u8>)>) -> (Server, User) {
    let server = Server::start(move |request| {
        let line = request.line.as_str();
        if line.starts_with("POST /api/v1/packs") {
            return Reply::json(&installed());
        }
        if line == "GET /api/v1/packs" {
            return Reply::page(&json!([]));
        }
        let path = line.strip_prefix("GET ").unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let file = files.iter().find(|(name, _)| *name == path);
        file.map_or_else(
            || Reply::of(404, "text/plain", "nothing"),
            |(_, content)| Reply::of(200, "application/octet-stream", content.clone()),
        )
    });
    let user = User::of(&server);
    (server, user)
}

/// What was sent to be installed.
fn sent(server: &Server) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.line.starts_with("POST")).collect()
}

fn manifest_of(request: &Request) -> String {
    let mut files = unpack(&request.body, Limits::of(1 << 20)).unwrap();
    String::from_utf8(files.remove("pack.yaml").unwrap().content).unwrap()
}

const LINUX: &str = "ref: linux\nversion: 1.2.0\n";

#[test]
fn test_an_archive_is_fetched_and_has_to_be_what_was_expected() {
    let content = archive(LINUX);
    let (server, user) = serving(vec![("/linux.tar.gz", content.clone())]);
    let url = format!("{}/linux.tar.gz?signature=s3cret", server.url);
    user.runs(&["pack", "install", &url, "--sha256", &"0".repeat(64)])
        .exits(1)
        .says(&format!("is not what was expected: its SHA-256 is {}, not 0000", sum(&content)));
    assert_eq!(sent(&server).len(), 0, "nothing is sent");

    user.runs(&["pack", "install", &url, "--sha256", &sum(&content).to_uppercase()]).exits(0);
    user.runs(&["pack", "install", &url]).exits(0);
    let sent = sent(&server);
    assert_eq!(sent.iter().map(manifest_of).collect::<Vec<_>>(), [LINUX; 2]);
    assert!(sent.iter().all(|request| !request.line.contains("s3cret")), "{sent:?}");
    let fetched = server.requests().into_iter().filter(|request| request.line.contains("?signature=s3cret"));
    let tokens: Vec<_> = fetched.map(|request| request.token).collect();
    assert_eq!(tokens, [None, None, None], "the token is for Attune alone");
}

#[test]
fn test_what_cannot_be_fetched_is_told() {
    let (server, user) = serving(vec![
        ("/broken.tar.gz", b"no archive".to_vec()),
        ("/other.tar.gz", {
            let file = PackFile { content: b"text".to_vec(), executable: false };
            pack(&PackFiles::from([("readme".to_owned(), file)])).unwrap()
        }),
    ]);
    let at = |path: &str| format!("{}{path}", server.url);
    user.runs(&["pack", "install", &at("/none.tar.gz?token=s3cret")])
        .exits(1)
        .says("/none.tar.gz answered 404");
    user.runs(&["pack", "install", &at("/broken.tar.gz")]).exits(1).says("cannot be unpacked");
    user.runs(&["pack", "install", &at("/other.tar.gz")]).exits(1).says("it has no pack.yaml");
    let with_password = at("/broken.tar.gz").replacen("://", "://ada:s3cret@", 1);
    let outcome = user.runs(&["pack", "install", &with_password]).exits(1);
    let outcome = outcome.says("the address carries a login or a password");
    assert!(!outcome.stderr.contains("s3cret"), "{}", outcome.stderr);
    assert_eq!(sent(&server).len(), 0);
}

/// An index with one version of `linux`, whose archive stands beside it.
fn index(sum: &str) -> String {
    format!(
        "packs:\n  linux:\n    description: Machines over ssh\n    tags: [ssh]\n    versions:\n      - version: 1.2.0\n        \
         source: linux-1.2.0.tar.gz\n        sha256: {sum}\n"
    )
}

#[test]
fn test_an_index_is_fetched_and_what_it_names_is_beside_it() {
    let content = archive(LINUX);
    let index = index(&sum(&content));
    let (server, user) =
        serving(vec![("/packs/index.yaml", index.into_bytes()), ("/packs/linux-1.2.0.tar.gz", content)]);
    let place = format!("{}/packs/index.yaml", server.url);
    user.runs(&["pack", "search", "ssh", "--index", &place]).exits(0).prints("linux");
    user.runs(&["pack", "install", "linux@^1", "--index", &place]).exits(0);
    let sent = sent(&server);
    assert_eq!(sent.iter().map(manifest_of).collect::<Vec<_>>(), [LINUX]);
    user.runs(&["pack", "install", "linux@^2", "--index", &place])
        .exits(1)
        .says("no version of `linux` will do: you asked for ^2");
    let elsewhere = user.having("ATTUNE_PACK_INDEX", &place);
    elsewhere.runs(&["pack", "search", "ssh"]).exits(0).prints("linux");
}

#[test]
fn test_an_archive_that_is_not_the_one_of_the_index_is_refused() {
    let content = archive(LINUX);
    let (server, user) = serving(vec![
        ("/index.yaml", index(&"0".repeat(64)).into_bytes()),
        ("/linux-1.2.0.tar.gz", content.clone()),
        ("/other/index.yaml", index(&sum(&archive("ref: linux\nversion: 9.0.0\n"))).into_bytes()),
        ("/other/linux-1.2.0.tar.gz", archive("ref: linux\nversion: 9.0.0\n")),
        ("/faulty.yaml", index("abc").into_bytes()),
    ]);
    let install = |path: &str| {
        let place = format!("{}{path}", server.url);
        user.runs(&["pack", "install", "linux", "--index", &place]).exits(1)
    };
    install("/index.yaml").says(&format!("its SHA-256 is {}, not 0000", sum(&content)));
    install("/other/index.yaml").says("the index promises linux 1.2.0, and what it points to is linux 9.0.0");
    install("/faulty.yaml")
        .says("`packs.linux.versions[0].sha256` is `abc`; expected 64 lower-case hexadecimal digits");
    install("/none.yaml").says("/none.yaml answered 404");
    assert_eq!(sent(&server).len(), 0);
}
