//! Profiles: what is kept where, and which token goes to whom.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Reply, Server, User};

fn server() -> Server {
    Server::start(|request| match (request.line.as_str(), request.token.as_deref()) {
        ("POST /api/v1/auth/login", None) if request.json()["password"] == "hunter 2" => {
            Reply::json(&json!({
                "token": "attune_fresh", "login": request.json()["login"], "expires": "2030-01-02T03:04:05Z",
            }))
        }
        ("POST /api/v1/auth/login", None) => {
            Reply::problem(401, "bad-credentials", "wrong login or password")
        }
        ("POST /api/v1/auth/logout", Some("attune_fresh")) => Reply::empty(),
        ("GET /api/v1/whoami", Some("attune_fresh")) => {
            Reply::json(&json!({"login": "ada", "grants": [{"resource": "*", "actions": ["read"]}]}))
        }
        _ => Reply::problem(401, "unauthenticated", "send a token"),
    })
}

#[test]
fn test_a_sign_in_is_kept_for_the_owner_only_and_used_from_then_on() {
    let server = server();
    let user = User::new();
    let login = ["login", "--url", &server.url, "--username", "ada", "--password-stdin"];
    let outcome = user
        .runs_with(&login, "hunter 2\n")
        .exits(0)
        .says(&format!("signed in to {} as ada (profile `default`, until 2030-01-02 03:04 UTC)", server.url));
    assert!(!format!("{outcome:?}").contains("attune_fresh"));
    let mode = std::fs::metadata(user.profiles()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    user.runs(&["whoami"]).exits(0).prints("login:       ada\n").prints("  *          read\n");

    user.runs(&["logout"]).exits(0).says("signed out of ");
    assert_eq!(server.lines().last().unwrap(), "POST /api/v1/auth/logout");
    assert!(!std::fs::read_to_string(user.profiles()).unwrap().contains("attune_fresh"));
    user.runs(&["whoami"]).exits(4).says("hint: run `attune login`");
    user.runs(&["logout"]).exits(4).says("not signed in to");
}

#[test]
fn test_a_password_comes_from_the_environment_too() {
    let server = server();
    let directory = tempfile::tempdir().unwrap();
    let user = User::new()
        .having("ATTUNE_PASSWORD", "hunter 2")
        .having("ATTUNE_URL", &server.url)
        .having("ATTUNE_CONFIG_DIR", directory.path().to_str().unwrap());
    let shown = user.runs(&["login", "-u", "ada", "-o", "json"]).exits(0).json();
    assert_eq!(shown["profile"], json!("default"));
    assert_eq!(shown.get("token"), None);
    assert!(directory.path().join("profiles.toml").is_file());
}

#[test]
fn test_a_refused_sign_in_keeps_nothing() {
    let server = server();
    let user = User::new().having("ATTUNE_URL", &server.url);
    let outcome = user.runs_with(&["login", "-u", "ada", "--password-stdin"], "wrong").exits(4);
    assert_eq!(outcome.stderr, "error: wrong login or password\n");
    assert!(!user.profiles().exists());
    user.runs(&["login", "-u", "ada"]).exits(1).says("no terminal to ask").says("--password-stdin");
    user.runs(&["login", "--password-stdin"]).exits(1).says("no username is given");
}

#[test]
fn test_a_token_goes_to_no_other_server() {
    let (own, other) = (server(), server());
    let user = User::new();
    user.runs_with(&["login", "--url", &own.url, "-u", "ada", "--password-stdin"], "hunter 2").exits(0);
    user.runs(&["whoami", "--url", &other.url])
        .exits(4)
        .says("note: profile `default` is of ")
        .says("is not sent to");
    assert_eq!(other.requests()[0].token, None);

    // A second sign-in gets a profile of its own, and both can be used.
    user.runs_with(&["login", "--url", &other.url, "-u", "ada", "--password-stdin"], "hunter 2").exits(0);
    user.runs(&["whoami"]).exits(0).prints(&other.url);
    user.runs(&["whoami", "--profile", "default"]).exits(0).prints(&own.url);
    user.runs(&["whoami", "--profile", "defualt"]).exits(1).says("did you mean `default`?");
}

#[test]
fn test_the_environment_goes_before_the_profile() {
    let server = server();
    let user = User::new();
    user.runs_with(&["login", "--url", &server.url, "-u", "ada", "--password-stdin"], "hunter 2").exits(0);
    let user = user.having("ATTUNE_TOKEN", "attune_other");
    user.runs(&["whoami"]).exits(4);
    assert_eq!(server.requests().last().unwrap().token.as_deref(), Some("attune_other"));
    let user = user.having("ATTUNE_TOKEN", "");
    user.runs(&["whoami"]).exits(0);
}

#[test]
fn test_loose_permissions_are_warned_about() {
    let server = server();
    let user = User::new();
    user.runs_with(&["login", "--url", &server.url, "-u", "ada", "--password-stdin"], "hunter 2").exits(0);
    std::fs::set_permissions(user.profiles(), std::fs::Permissions::from_mode(0o644)).unwrap();
    user.runs(&["whoami"]).exits(0).says("warning: others may read the tokens in").says("chmod 600");
}
