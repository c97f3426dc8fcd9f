//! Templates: types, text, strictness, limits, filters and the words of errors.

use std::collections::BTreeSet;

use attune_expr::scope::Scope;
use attune_expr::template::{TemplateError, TemplateErrorKind, ValueTemplate};
use proptest::prelude::*;
use serde_json::{Value, json};

fn render(template: Value) -> Result<Value, TemplateError> {
    let event = json!({
        "payload": {
            "host": "web-01",
            "used": 91.5,
            "count": 3,
            "big": u64::MAX,
            "ok": true,
            "nothing": null,
            "items": ["a", "b"],
            "labels": {"odd key": "x", "team": "sre"},
            "nested": {"list": [1, {"k": "it's", "v": null}], "text": "q\"'"},
            "html": "<b>&</b>",
            "injected": "{{ event.payload.host }}"
        }
    });
    let rule = json!({"ref": "ops.page"});
    let scope = Scope::new().with("event", &event).with("rule", &rule);
    ValueTemplate::compile(&template)?.render(&scope)
}

#[track_caller]
fn check(template: &str, expected: Value) {
    assert_eq!(render(json!(template)), Ok(expected), "{template}");
}

#[track_caller]
fn check_error(template: &str, kind: TemplateErrorKind, words: &str) {
    let error = render(json!({"a/b": [template]})).expect_err(template);
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(words), "{error}");
    assert_eq!(error.pointer, "/a~1b/0");
    assert_eq!(error.expression, template);
}

#[test]
fn test_whole_string_expressions_keep_their_type() {
    check("{{ event.payload.used }}", json!(91.5));
    check("{{ event.payload.big }}", json!(u64::MAX));
    check(" {{- event.payload.ok -}} \n", json!(true));
    check("{{ event.payload.nothing }}", json!(null));
    check("{{ event.payload.labels }}", json!({"odd key": "x", "team": "sre"}));
    check("{{ event.payload.count + 1 }}", json!(4));
    check("{{ event.payload.count / 2 }}", json!(1.5));
    check("{{ event.payload.items + ['c'] }}", json!(["a", "b", "c"]));
    check("{{ {'a': {'b': event.payload.count}} }}", json!({"a": {"b": 3}}));
    check("{{ event.payload.items | map('upper') }}", json!(["A", "B"]));
    check("{{ event.payload.count > 2 and event.payload.ok }}", json!(true));
    check("{{ 'a }} {{ b' }}", json!("a }} {{ b"));
    check("{{ (1, 2) }}", json!([1, 2]));
}

#[test]
fn test_other_templates_give_text_as_python_prints_it() {
    check("{{ event.payload.host }}:{{ event.payload.used }}%", json!("web-01:91.5%"));
    check("{{ event.payload.ok }} {{ event.payload.nothing }}", json!("True None"));
    check("l={{ event.payload.items }}", json!("l=['a', 'b']"));
    check(
        "n={{ event.payload.nested }}",
        json!("n={'list': [1, {'k': \"it's\", 'v': None}], 'text': 'q\"\\''}"),
    );
    check("{% if event.payload.ok %}{{ event.payload.count }}{% endif %}", json!("3"));
    check("{{ event.payload.html }} {{ event.payload.html | upper }}", json!("<b>&</b> <B>&</B>"));
    check("f={{ 1.0 }} {{ 0.1 + 0.2 }} {{ 7 // 2 }} {{ 2 ** 3 }}", json!("f=1.0 0.30000000000000004 3 8"));
    check("e={{ ['a\\nb\\\\é', {}] }}", json!("e=['a\\nb\\\\é', {}]"));
}

#[test]
fn test_a_text_template_gives_text_whatever_its_result() {
    let text = |template: &str| {
        let list = json!([1, true, null]);
        ValueTemplate::compile_text(template)?.render(&Scope::new().with("list", &list))
    };
    assert_eq!(text("{{ list }}"), Ok(json!("[1, True, None]")));
    assert_eq!(text("{{ list[0] + 1 }}"), Ok(json!("2")));
    assert_eq!(text("no template"), Ok(json!("no template")));
    assert_eq!(text("{# gone #}{ stays }"), Ok(json!("{ stays }")));
    assert_eq!(text("{{ nope }}").unwrap_err().kind, TemplateErrorKind::Undefined);
    assert_eq!(text("{{ list | nope }}").unwrap_err().kind, TemplateErrorKind::Syntax);
}

#[test]
fn test_an_expression_needs_no_braces() {
    let event = json!({"n": 3, "list": ["a"]});
    let expression =
        |text: &str| ValueTemplate::compile_expression(text)?.render(&Scope::new().with("event", &event));
    assert_eq!(expression(" event.n + 1 "), Ok(json!(4)));
    assert_eq!(expression("event.list"), Ok(json!(["a"])));
    assert_eq!(expression("{'a': {'b': -event.n}}"), Ok(json!({"a": {"b": -3}})));
    assert_eq!(expression("-1"), Ok(json!(-1)));
    let error = |text: &str| {
        let error = expression(text).unwrap_err();
        (error.kind, error.expression, error.message, error.suggestion)
    };
    assert_eq!(
        error("event.nope"),
        (TemplateErrorKind::Undefined, "{{ event.nope }}".into(), "`event.nope` is undefined".into(), None)
    );
    assert_eq!(error("event.n | uper").3.as_deref(), Some("upper"));
    for broken in ["", "event.n }} and {{ event.n", "event.n +", "event.list[", "{{ event.n }}"] {
        assert_eq!(error(broken).0, TemplateErrorKind::Syntax, "{broken}");
    }
}

#[test]
fn test_no_template_exhausts_the_stack_of_the_compiler() {
    let limit = |template: &str, says: &str| {
        let error = ValueTemplate::compile_text(template).unwrap_err();
        assert!(error.kind == TemplateErrorKind::Limit && error.message.contains(says), "{error}");
        assert_eq!(ValueTemplate::compile(&json!(template)).unwrap_err().kind, TemplateErrorKind::Limit);
    };
    let repeated = |start: &str, part: &str, times: usize| format!("{start}{}", part.repeat(times));
    let chains = ["not ", "-", "a.", "1 + ", "a[0].", "1 if 1 else ", "a ~ ", "upper | ", "f()()()."];
    let chain = |part: &str, times: usize| match part {
        "upper | " => repeated("a | ", part, times) + "upper",
        part => repeated("", part, times) + "a",
    };
    for part in chains {
        let (expression, too_long) = (chain(part, 40), chain(part, 50_000));
        assert!(ValueTemplate::compile_expression(&expression).is_ok(), "{part}");
        limit(&format!("{{{{ {too_long} }}}}"), "500 words");
        limit(&format!("{{{{-{too_long}}}}}"), "500 words");
        limit(&format!("{{{{ raw }}}}{{% set x = {too_long} %}}"), "500 words");
        assert!(ValueTemplate::compile_expression(&too_long).is_err());
    }
    for (open, close) in [("range(", ")"), ("[", "]"), ("{'a':", "}"), ("a[", "]"), ("1|default(x, ", ")")] {
        let nested = |times: usize| repeated(&(repeated("", open, times) + "1"), close, times);
        assert!(ValueTemplate::compile_expression(&nested(32)).is_ok(), "{open}");
        limit(&format!("{{{{ {} }}}}", nested(33)), "32 brackets");
        // What the limits allow together fits as well; more blocks are the engine's to refuse.
        let in_blocks = |times: usize| {
            let expression = format!("{{{{ {} }}}}", nested(32));
            repeated(&(repeated("", "{% if 1 %}", times) + &expression), "{% endif %}", times)
        };
        assert!(ValueTemplate::compile_text(&in_blocks(40)).is_ok(), "{open}");
        let refused = ValueTemplate::compile_text(&in_blocks(149)).unwrap_err();
        assert_eq!(refused.kind, TemplateErrorKind::Syntax, "{refused}");
    }
    limit(&(repeated("{% if 0 %}", "{% elif 0 %}", 201) + "{% endif %}"), "200 `elif`");
    assert!(
        ValueTemplate::compile_text(&(repeated("{% if 0 %}", "{% elif 0 %}", 200) + "{% endif %}")).is_ok()
    );
    // The only value that could grow in depth while a template runs.
    let error = ValueTemplate::compile_text("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}")
        .and_then(|template| template.render(&Scope::new()))
        .unwrap_err();
    assert!(error.message.contains("namespace"), "{error}");
    // Long is not deep.
    let list = repeated("['a', ", "{'b': 1 + 2, 'c': [3]}, ", 10_000) + "1]";
    assert!(ValueTemplate::compile_expression(&list).is_ok());
    assert!(ValueTemplate::compile_text(&repeated("", "{{ 1 }}", 10_000)).is_ok());
}

#[test]
fn test_values_without_templates_stay_as_they_are() {
    let plain = json!({"a": [1, "b", null, {"c": "{ not a template }"}], "line": "x\n"});
    let template = ValueTemplate::compile(&plain).unwrap();
    assert!(template.is_static());
    assert_eq!(template.as_static(), Some(&plain));
    assert_eq!(render(plain.clone()), Ok(plain));
    let mixed = ValueTemplate::compile(&json!({"a": 1, "b": "{{ x }}"})).unwrap();
    assert!(!mixed.is_static());
    assert_eq!(mixed.as_static(), None);
}

#[test]
fn test_trees_are_rendered_at_every_depth() {
    let tree = json!({"to": ["{{ event.payload.host }}", {"n": "{{ event.payload.count }}"}], "rule": "by {{ rule.ref }}", "x": 1});
    let expected = json!({"to": ["web-01", {"n": 3}], "rule": "by ops.page", "x": 1});
    assert_eq!(render(tree), Ok(expected));
}

#[test]
fn test_rendered_values_are_never_rendered_again() {
    check("{{ event.payload.injected }}", json!("{{ event.payload.host }}"));
    check("x {{ event.payload.injected | upper }}", json!("x {{ EVENT.PAYLOAD.HOST }}"));
}

#[test]
fn test_blocks_and_line_breaks_follow_stackstorm() {
    let text = "{% for item in event.payload['items'] %}\n  - {{ item }}\n{% endfor %}\nend\n";
    check(text, json!("  - a\n  - b\nend\n"));
    check("{# note #}x{% raw %}{{ y }}{% endraw %}", json!("x{{ y }}"));
    check("{% set n = event.payload.count %}{{ n * 2 }}", json!("6"));
}

#[test]
fn test_python_methods_win_over_keys_of_the_same_name() {
    check("{{ event.payload.items }}", json!(["a", "b"]));
    check(
        "{% for k, v in event.payload.labels.items() %}{{ k }}={{ v }};{% endfor %}",
        json!("odd key=x;team=sre;"),
    );
    check("{{ event.payload.host.upper().split('-') }}", json!(["WEB", "01"]));
    check("{{ event.payload.get('nope', 'fallback') }}", json!("fallback"));
    check("{{ event.payload.labels.keys() | list }}", json!(["odd key", "team"]));
    check("{{ '%s is %d' | format('disk', 3) }}", json!("disk is 3"));
    check("{{ '{} is {}'.format('disk', 3) }}", json!("disk is 3"));
}

#[test]
fn test_missing_names_and_fields_are_errors_that_name_them() {
    use TemplateErrorKind::Undefined;
    check_error("{{ event.payload.nope }}", Undefined, "`event.payload.nope` is undefined");
    check_error("{{ event.payload.nope.deeper }}", Undefined, "`event.payload.nope` is undefined");
    check_error("disk {{ event.payload.nope }}", Undefined, "`event.payload.nope` is undefined");
    check_error("disk {{ evnt }}", Undefined, "`evnt` is undefined");
    check_error("{{ evnt }}", Undefined, "`evnt` is undefined");
    check_error("{{ [event.payload.nope] }}", Undefined, "undefined");
    check_error("{% if event.payload.nope %}{% endif %}", Undefined, "`event.payload.nope` is undefined");
    check_error("{{ event.payload['items'][7] }}", Undefined, "undefined");
    for filter in [
        "upper",
        "length",
        "from_json_string",
        "to_json_string",
        "version_compare('1.0.0')",
        "regex_match('a')",
        "join",
        "first",
        "int",
        "to_complex",
        "use_none",
    ] {
        check_error(&format!("{{{{ event.payload.nope | {filter} }}}}"), Undefined, "undefined");
    }
    check_error("{{ event.payload.nope + 1 }}", Undefined, "`event.payload.nope` is undefined");
    check_error("{{ event.payload.nope > 1 }}", Undefined, "`event.payload.nope` is undefined");
    check_error("{{ event.payload.nope.upper() }}", Undefined, "`event.payload.nope` is undefined");
    check_error("{{ event.payload.nope == 1 }}", Undefined, "`event.payload.nope` is undefined");
    check_error("{{ 1 in event.payload.nope }}", Undefined, "`event.payload.nope` is undefined");
    check_error("{{ event.payload.nope ~ 'x' }}", Undefined, "`event.payload.nope` is undefined");
    check_error("{{ not event.payload.nope }}", Undefined, "`event.payload.nope` is undefined");
    check("{{ event.payload.nope | default('d') }}", json!("d"));
    check("{{ event.payload.nope is defined }}", json!(false));
}

#[test]
fn test_faults_of_syntax_are_found_when_compiling() {
    let fault = |template: &str| ValueTemplate::compile(&json!([template])).map(|_| ()).expect_err(template);
    for template in ["{{ a", "{{ a | }}", "{% if a %}", "{{ a }} {% endif %}", "{{ 1 + }}"] {
        let error = fault(template);
        assert_eq!((error.kind, error.pointer.as_str()), (TemplateErrorKind::Syntax, "/0"), "{error}");
    }
    let filter = fault("{{ a | uper }}");
    assert_eq!(
        (filter.message.as_str(), filter.suggestion.as_deref()),
        ("unknown filter `uper`", Some("upper"))
    );
    let text = fault("x {{ a | to_jsonstring }}");
    assert_eq!(text.suggestion.as_deref(), Some("to_json_string"));
    let test = fault("{{ a is definde }}");
    assert_eq!(
        (test.message.as_str(), test.suggestion.as_deref()),
        ("unknown test `definde`", Some("defined"))
    );
    assert!(fault("{{ a | decrypt_kv }}").message.contains("unknown filter"));
    assert!(fault("{{ a | random }}").message.contains("unknown filter"));
    let key = ValueTemplate::compile(&json!({"{{ a }}": 1})).map(|_| ()).unwrap_err();
    assert!(key.message.contains("only values are rendered"), "{key}");
}

#[test]
fn test_faults_reports_every_template_at_once() {
    let value = json!({"a": "{{ x", "b": ["{{ ok }}", "{{ y | nope }}"], "{{ k }}": 1, "c": "plain"});
    let pointers: BTreeSet<_> =
        ValueTemplate::faults(&value).into_iter().map(|fault| fault.pointer).collect();
    assert_eq!(pointers, ["/a", "/b/1", "/{{ k }}"].map(str::to_owned).into());
    assert!(ValueTemplate::faults(&json!({"a": "{{ ok }}"})).is_empty());
}

#[test]
fn test_errors_are_one_line_with_place_and_expression() {
    let error = render(json!({"text": "{{ event.payload.nope }}"})).unwrap_err();
    assert_eq!(
        error.under("/action_params").to_string(),
        "template `{{ event.payload.nope }}` at `/action_params/text`: `event.payload.nope` is undefined"
    );
    let long = format!("{{{{ event.nope }}}} {}", "x".repeat(500));
    assert_eq!(render(json!(long)).unwrap_err().expression.chars().count(), 203);
}

#[test]
fn test_work_and_output_are_limited() {
    use TemplateErrorKind::Limit;
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    check_error(nested, Limit, "too much work");
    check_error("{{ 'abcdefgh' * 1000000000 }}", Limit, "too much work");
    check_error("{{ range(100) | join('x' * 10000000) }}", Limit, "too much work");
}

#[test]
fn test_failures_of_filters_and_operators_say_why() {
    use TemplateErrorKind::Failed;
    check_error("{{ event.payload.host + 1 }}", Failed, "unsupported");
    check_error(
        "{{ event.payload.host | from_json_string }}",
        Failed,
        "not JSON: expected value at line 1 column 1",
    );
    check_error("{{ 'a: [' | from_yaml_string }}", Failed, "not YAML (line");
    check_error("{{ event.payload.host | regex_match('(') }}", Failed, "unclosed group");
    check_error("{{ 'x' | regex_substring('y') }}", Failed, "matches 0 times");
    check_error("{{ 'v1.2' | version_compare('1.2.0') }}", Failed, "`v1.2` is not a semantic version");
    check_error("{{ '1.2.0' | version_match('1.2.0') }}", Failed, "must start with one of");
    check_error("{{ event.payload | jsonpath_query('a[') }}", Failed, "bad JSONPath");
    check_error("{{ range }}", Failed, "cannot be a value in JSON");
    check_error("{% include 'x' %}", Failed, "non-existing template");
}

#[test]
fn test_filters_on_json_and_yaml() {
    check("{{ '{\"a\": [1, null]}' | from_json_string }}", json!({"a": [1, null]}));
    check("{{ 'a: yes\nb: [1]' | from_yaml_string }}", json!({"a": true, "b": [1]}));
    check("{{ event.payload.labels | to_json_string }}", json!("{\"odd key\": \"x\",\"team\": \"sre\"}"));
    check("{{ event.payload['items'] | to_json_string(indent=2) }}", json!("[\n  \"a\",\n  \"b\"\n]"));
    check("{{ {'a': {}, 'b': []} | to_json_string(2) }}", json!("{\n  \"a\": {},\n  \"b\": []\n}"));
    check("{{ {'a': 1, 'b': 2} | to_json_string(separators=(', ', '=')) }}", json!("{\"a\"=1, \"b\"=2}"));
    check(
        "{{ {'b': [1, {'c': none}]} | to_yaml_string | from_yaml_string }}",
        json!({"b": [1, {"c": null}]}),
    );
    check("{{ 'tab\there' | json_escape }}", json!("tab\\there"));
    check("{{ event.payload.labels | to_complex }}", json!({"odd key": "x", "team": "sre"}));
    check("c={{ event.payload.labels | to_complex }}", json!("c={\"odd key\":\"x\",\"team\":\"sre\"}"));
    check("{{ event.payload.nested | jsonpath_query('list[*].k') }}", json!(["it's"]));
    check("{{ event.payload.nested | jsonpath_query('nope') }}", json!(null));
    check("{{ event.payload.nothing | use_none }}", json!(null));
}

#[test]
fn test_filters_on_text_and_regular_expressions() {
    check("{{ 'ABC' | regex_match('b', ignorecase=true) }}", json!(false));
    check("{{ 'ABC' | regex_search('b', ignorecase=true) }}", json!(true));
    check("{{ 'ab12' | regex_replace('([a-z]+)(\\\\d+)', '\\\\2-\\\\g<1>') }}", json!("12-ab"));
    check("{{ 'ab' | regex_replace('(?P<x>a)', '[\\\\g<x>]') }}", json!("[a]b"));
    check("{{ 'a.b' | regex_replace('\\\\.', '\\\\n') }}", json!("a\nb"));
    check("{{ 'a1 b2' | regex_substring('[a-z]\\\\d', 1) }}", json!("b2"));
    check("{{ 'a1 b2' | regex_substring('([a-z])\\\\d', -1) }}", json!("b"));
    check("{{ 'a1' | regex_substring('([a-z])(\\\\d)') }}", json!(["a", "1"]));
    check("{{ '/var/log/syslog' | basename }} {{ '/var/log/syslog' | dirname }}", json!("syslog /var/log"));
    check("{{ 'file' | dirname }}{{ '//' | dirname }}", json!("//"));
    check("[{{ 'ab' | center(5) }}][{{ 'abc' | center(6) }}]", json!("[  ab ][ abc  ]"));
    check("{{ 'a b c' | wordcount }}", json!(3));
    check("{{ 'Hello World' | truncate(8, true, '..', 0) }}", json!("Hello .."));
    check("{{ 'Hello World' | truncate(8, leeway=0) }}", json!("Hello..."));
    check("{{ 'aa bb' | wordwrap(2, wrapstring='|') }}", json!("aa|bb"));
    check_error("{{ 'x' | truncate(8, length=8) }}", TemplateErrorKind::Failed, "given twice");
    check_error("{{ event.payload.nope | truncate(8) }}", TemplateErrorKind::Undefined, "nope");
    check_error("{{ 'x' | int }}", TemplateErrorKind::Failed, "invalid");
    check("{{ 31626061 | to_human_time_from_seconds }}", json!("1y1d1h1m1s"));
    check("{{ -90.9 | to_human_time_from_seconds }}", json!("-1m30s"));
    check_error("{{ 'a' | regex_replace('a', '\\\\3') }}", TemplateErrorKind::Failed, "no group `3`");
    check_error("{{ 'a' | regex_replace('a', 'x', nope=1) }}", TemplateErrorKind::Failed, "nope");
}

#[test]
fn test_filters_on_versions() {
    check("{{ '1.2.3' | version_strip_patch }}", json!("1.2"));
    check("{{ '1.2.3' | version_match('!=1.2.4') and '1.2.3' | version_match('<=1.2.3') }}", json!(true));
    check("{{ '1.0.0-rc.1' | version_less_than('1.0.0') }}", json!(true));
    check("{{ '1.0.0-rc.1' | version_bump_patch }}", json!("1.0.1"));
}

#[test]
fn test_roots_are_the_names_taken_from_the_scope() {
    let template = ValueTemplate::compile(&json!({
        "a": "{{ event.x }} {{ rule['y'] }}",
        "b": ["{{ range(3) | list }}", "{% for i in items %}{{ i }}{% endfor %}"],
        "c": "{{ now() }}",
    }));
    let roots: BTreeSet<_> =
        template.unwrap().roots().into_iter().map(|used| (used.pointer, used.root)).collect();
    let expected = [("/a", "event"), ("/a", "rule"), ("/b/1", "items"), ("/c", "now")];
    assert_eq!(roots, expected.map(|(pointer, root)| (pointer.to_owned(), root.to_owned())).into());
}

#[test]
fn test_paths_mean_the_same_with_and_without_the_engine() {
    // `| default(none)` would hide faults, so a harmless concatenation forces the engine.
    for path in [
        "event",
        "event.payload.labels['odd key']",
        "event.payload['items'][1]",
        "event.payload.nested.list[1].k",
        "event.payload.nope",
        "event.payload.host[0]",
        "event.payload.nothing.x",
        "event.payload.items.upper",
        "event.payload.labels[0]",
        "nope",
        "event.payload['items'][9]",
    ] {
        let plain = render(json!(format!("{{{{ {path} }}}}")));
        let by_engine = render(json!(format!("{{{{ [{path}][0] }}}}")));
        match (&plain, &by_engine) {
            (Ok(plain), Ok(by_engine)) => assert_eq!(plain, by_engine, "{path}"),
            (Err(plain), Err(by_engine)) => assert_eq!(plain.kind, by_engine.kind, "{path}"),
            _ => panic!("{path}: {plain:?} / {by_engine:?}"),
        }
        let text = render(json!(format!("<{{{{ {path} }}}}>")));
        let text_by_engine = render(json!(format!("<{{{{ ({path}) }}}}>")));
        assert_eq!(text.is_ok(), text_by_engine.is_ok(), "{path}");
        if let (Ok(text), Ok(by_engine)) = (text, text_by_engine) {
            assert_eq!(text, by_engine, "{path}");
        }
    }
}

/// Text made of the pieces that templates are made of, mostly wrong.
fn template_soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "{{", "}}", "{%", "%}", "{#", "#}", "-", "'", "\"", "\\", "|", ".", "[", "]", "(", ")", "{", "}",
            " ", "\n", "~", "*", "event", "payload", "host", "items", "if", "endif", "for", "in", "endfor",
            "raw", "endraw", "filter", "is", "not", "defined", "upper", "set", "=", "1", "0", "é",
        ])
        .prop_map(str::to_owned),
        ".{0,3}",
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn prop_no_text_makes_templates_panic(text in template_soup(), inner in template_soup()) {
        for text in [text.clone(), format!("{{{{ {inner} }}}}"), format!("{text}{{{{ {inner} }}}}")] {
            let rendered = render(json!([text.clone()]));
            if !text.contains("{{") && !text.contains("{%") {
                prop_assert_eq!(rendered, Ok(json!([text])));
            }
        }
    }

    #[test]
    fn prop_any_value_passes_through_whole_and_plain_paths(key in "[a-z ]{1,6}", text in ".{0,12}", number in any::<f64>()) {
        prop_assume!(number.is_finite());
        let event = json!({ key.clone(): [text, number] });
        let scope = Scope::new().with("event", &event);
        for template in [format!("{{{{ event['{key}'] }}}}"), format!("{{{{ (event['{key}']) }}}}")] {
            let rendered = ValueTemplate::compile(&json!(template)).unwrap().render(&scope);
            prop_assert_eq!(rendered.as_ref(), Ok(&event[&key]));
        }
    }
}

/// The fields that a template names, as `pointer path`.
#[track_caller]
fn check_paths(value: &Value, expected: &[&str]) {
    let paths = ValueTemplate::compile(value).unwrap().paths();
    let shown: Vec<_> = paths.iter().map(|used| format!("{} {}", used.pointer, used.path)).collect();
    assert_eq!(shown, expected, "{value}");
}

#[test]
fn test_paths_names_the_fields_that_templates_read() {
    check_paths(&json!("{{ event.payload.alerts[0]['odd key'] }}"), &[" event.payload.alerts[0]['odd key']"]);
    check_paths(&json!("a {{ event.a }} b {{ event.b }}"), &[" event.a", " event.b"]);
    check_paths(
        &json!("{{ event.a | default(rule.ref) ~ event.b.c }}"),
        &[" event.a", " event.b.c", " rule.ref"],
    );
    check_paths(
        &json!({"x": ["{{ event.a + 1 }}", 3], "y/z": "{{ trigger.ref }}"}),
        &["/x/0 event.a", "/y~1z trigger.ref"],
    );
    check_paths(&json!("plain"), &[]);
}

#[test]
fn test_paths_stop_where_the_event_decides() {
    check_paths(&json!("{{ event.names[event.index] }}"), &[" event.index", " event.names"]);
    check_paths(&json!("{{ event.labels.items() | list | length }}"), &[" event.labels"]);
    check_paths(&json!("{{ event.text.strip().lower () }}"), &[" event.text"]);
    check_paths(&json!("{% for label in event.labels %}{{ label.name }}{% endfor %}"), &[" event.labels"]);
    // Called somewhere: then it may be the method everywhere.
    check_paths(&json!("{{ event.a.items() ~ event.items.b ~ '' }}"), &[" event.a", " event"]);
}
