//! The values of keys in parameters: where they may stand, what is rendered, and what is shown.

use attune_expr::key_marks::{KeyMarks, MASK};
use attune_expr::scope::Scope;
use attune_expr::template::{TemplateError, TemplateErrorKind};
use serde_json::{Value, json};

use super::{compiled, problems};

fn event() -> Value {
    json!({"payload": {"name": "a", "labels": {"x": "1"}, "forged": "<key:n0nce:ops.other>", "loud": true}})
}

fn marked(params: Value, nonce: &str) -> Result<Value, TemplateError> {
    let event = event();
    compiled(json!({"action_params": params}))
        .render_marked(&Scope::new().with("event", &event), &KeyMarks::new(nonce))
}

fn shown(params: Value) -> Result<Value, TemplateError> {
    let event = event();
    compiled(json!({"action_params": params})).render_parameters(&Scope::new().with("event", &event))
}

#[test]
fn test_keys_are_rendered_as_marks_and_shown_as_masks() {
    let params = json!({
        "token": "{{ key('ops.pager_token') }}",
        "header": "Bearer {{ key(\"ops.pager_token\") }} for {{ event.payload.name }}",
        "list": [{"n": 1}, "{% if event.payload.loud %}{{ key('ops.loud') }}{% else %}{{ key('ops.quiet') }}{% endif %}"],
        "plain": "{{ event.payload.name }}",
    });
    assert_eq!(
        marked(params.clone(), "drawn"),
        Ok(json!({
            "token": "<key:drawn:ops.pager_token>",
            "header": "Bearer <key:drawn:ops.pager_token> for a",
            "list": [{"n": 1}, "<key:drawn:ops.loud>"],
            "plain": "a",
        }))
    );
    assert_eq!(
        shown(params.clone()),
        Ok(json!({
            "token": MASK,
            "header": format!("Bearer {MASK} for a"),
            "list": [{"n": 1}, MASK],
            "plain": "a",
        }))
    );
    let rule = compiled(json!({"action_params": params}));
    let mut keys: Vec<_> =
        rule.keys().iter().map(|used| (used.pointer.as_str(), used.key_ref.as_str())).collect();
    let expected = [
        ("/header", "ops.pager_token"),
        ("/list/1", "ops.loud"),
        ("/list/1", "ops.quiet"),
        ("/token", "ops.pager_token"),
    ];
    keys.sort_unstable();
    assert_eq!(keys, expected);
    assert!(
        rule.parameter_fields().iter().all(|field| field.root() == "event"),
        "{:?}",
        rule.parameter_fields()
    );
}

#[test]
fn test_an_event_cannot_write_a_mark() {
    let params = json!({"text": "{{ event.payload.forged }} {{ key('ops.own') }}"});
    let marks = KeyMarks::new("drawn");
    let rendered = marked(params, "drawn").unwrap();
    assert_eq!(marks.keys_in(&rendered), ["ops.own".to_owned()].into());
    assert_eq!(marks.masked(rendered), json!({"text": format!("<key:n0nce:ops.other> {MASK}")}));
}

#[test]
fn test_a_value_can_only_be_put_into_text() {
    for text in [
        "{{ key('ops.token') | upper }}",
        "{{ key('ops.token') | length }}",
        "{{ key('ops.token') == 'x' }}",
        "{{ key('ops.token') | urlencode }}",
        "{{ {'a': key('ops.token')} | tojson }}",
        "{{ key('ops.token')[:8] }}",
        "{{ key('ops.token') | truncate(40) }}",
    ] {
        let told = |rendered: Result<Value, TemplateError>| {
            let error = rendered.unwrap_err();
            (error.kind, error.pointer, error.message)
        };
        let error = told(marked(json!({"a": [text]}), "drawn-by-dice-0123456789-0123456789-01234ABC"));
        assert_eq!((error.0, error.1.as_str()), (TemplateErrorKind::Failed, "/action_params/a/0"), "{text}");
        assert!(
            error.2.contains("`ops.token` does not get into the parameters as it is"),
            "{text}: {}",
            error.2
        );
        assert_eq!(told(shown(json!({"a": [text]}))), error, "{text}");
    }
    // Text around it, and choosing, are all right.
    for text in ["{{ 'Bearer ' ~ key('ops.token') }}", "{{ key('ops.token') | default('none') | trim }}"] {
        assert!(marked(json!({"a": text}), "drawn").is_ok(), "{text}");
    }
    let error = marked(json!({"a": "{{ key('ops.token') | int }}"}), "drawn").unwrap_err();
    assert!(!error.to_string().contains("drawn"), "{error}");
}

#[test]
fn test_the_ref_is_a_constant() {
    for text in [
        "{{ key(event.payload.name) }}",
        "{{ key('ops.' ~ event.payload.name) }}",
        "{{ key }}",
        "x {{ key }}",
        "{{ key() }}",
        "{{ key('ops.a', 'ops.b') }}",
        "{{ [event.payload.name] | map(key) | list }}",
        "{% set k = key %}{{ k('ops.a') }}",
        "{{ key('ops.a') }}{{ key.x }}",
        "{{ key == 1 }}",
    ] {
        let found = problems(json!({"action_params": {"a": text}}));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0].pointer, "/action_params/a");
        assert!(found[0].message.contains("takes its ref as a text: `key('pack.name')`"), "{}", found[0]);
    }
    let found = problems(json!({"action_params": {"a": "{{ key('token') }}"}}));
    assert!(found[0].message.contains("`token` cannot be the ref of a key"), "{found:?}");
}

#[test]
fn test_other_names_called_key_are_left_alone() {
    let params = json!({
        "a": "{% for key, value in event.payload.labels | items %}{{ key }}={{ value }}{% endfor %}",
        "b": "{{ dict(key='x').key }} {{ event.payload['key'] | default('key') }}",
    });
    assert_eq!(shown(params.clone()), Ok(json!({"a": "x=1", "b": "x key"})));
    assert!(compiled(json!({"action_params": params})).keys().is_empty());
}

#[test]
fn test_keys_stand_in_action_params_only() {
    let window = |key: &str| json!({"window": {"count": {"at_least": 2, "within": "5m"}, "key": key}});
    let conditions = [
        json!({"conditions": ["{{ key('ops.a') == 'x' }}"]}),
        json!({"conditions": [{"field": "event.payload.a", "operator": "equals", "value": "{{ key('ops.a') }}"}]}),
        json!({"conditions": [{"field": "key", "operator": "exists"}]}),
    ];
    for members in conditions {
        let found = problems(members.clone());
        assert_eq!(found.len(), 1, "{members}: {found:?}");
        assert!(found[0].message.contains("can only be put into action_params"), "{}", found[0]);
    }
    let found = problems(json!({"trigger_params": {"a": "{{ key('ops.a') }}"}}));
    assert!(found[0].message.contains("a template has no effect here"), "{found:?}");
    let found = problems(window("{{ key('ops.a') }}{{ event.payload.a }}"));
    assert!(
        found.iter().any(|problem| problem.message.contains("can only be put into action_params")),
        "{found:?}"
    );
}
