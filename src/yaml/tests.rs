use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn change(text: &str, target: &Value) -> String {
    let documents = read(text).unwrap();
    let rewritten = rewrite(text, &documents, std::slice::from_ref(target));
    assert_eq!(
        read(&rewritten.text).unwrap()[0].value,
        *target,
        "{}",
        rewritten.text
    );
    rewritten.text
}

/// Changes the text to what `to` says and back again, and expects the very bytes.
fn there_and_back(from: &str, to: &str) {
    let (before, after) = (
        read(from).unwrap()[0].value.clone(),
        read(to).unwrap()[0].value.clone(),
    );
    assert_eq!(change(from, &after), to);
    assert_eq!(change(to, &before), from);
}

/// What `sigs.k8s.io/yaml` 1.6.0 printed for the same text.
#[test]
fn reads_what_kubectl_would_read() {
    for (text, value) in [
        ("a: |\n  x", json!({"a": "x"})),
        ("a: !foo bar\n", json!({"a": "bar"})),
        ("a: &x {b: 1}\nc: *x\n", json!({"a": {"b": 1}, "c": {"b": 1}})),
        ("\u{feff}a: 1\n", json!({"a": 1})),
        (
            "a: 1\r\nb: \"x\r\n  y\"\r\nc: |\r\n  l1\r\n  l2\r\n",
            json!({"a": 1, "b": "x y", "c": "l1\nl2\n"}),
        ),
        ("a:\tb\n", json!({"a": "b"})),
        (
            "x: {<<: [{a: 1}, {a: 2, b: 3}]}\n",
            json!({"x": {"a": 1, "b": 3}}),
        ),
        (
            "a: &x {k: 1, z: 2}\nb: {k: 0, <<: *x}\nc: {<<: *x, k: 0}\n",
            json!({"a": {"k": 1, "z": 2}, "b": {"k": 1, "z": 2}, "c": {"k": 0, "z": 2}}),
        ),
        ("\"<<\": {a: 1}\n", json!({"<<": {"a": 1}})),
        ("a: !!str\n", json!({"a": ""})),
        ("a: ! 12\n", json!({"a": "12"})),
        (
            "n: !!str 12\non: 1\n1.5: 2\n0x10: 3\n",
            json!({"false": "12", "true": 1, "1.5": 2, "16": 3}),
        ),
        (
            "a: 'it''s'\nb: \"\\u00e9\\t\"\nc: >-\n  x\n  y\n\n  z\n",
            json!({"a": "it's", "b": "é\t", "c": "x y\nz"}),
        ),
        ("a:\n", json!({"a": null})),
    ] {
        assert_eq!(read(text).unwrap()[0].value, value, "{text}");
    }
}

#[test]
fn refuses_what_json_cannot_say_and_names_the_line() {
    for (text, sentence) in [
        (
            "a: 1\nb: 2\na: 3\n",
            "line 3: the key a stands here for the second time (first in line 1)",
        ),
        (
            "a: 1\nnull: 2\n",
            "line 2: a key must be text, not a list, a mapping or null",
        ),
        (
            "? [a]\n: 1\n",
            "line 1: a key must be text, not a list, a mapping or null",
        ),
        ("a: .nan\n", "line 1: .nan cannot be used as a number in JSON"),
        ("a: !!int x\n", "line 1: x cannot be used as !!int"),
        (
            "a: &x [*x]\n",
            "line 1: the alias refers to something that is not complete yet",
        ),
        ("a: 1\n<<: 3\n", "line 2: 3 cannot be used as a mapping to merge"),
    ] {
        assert_eq!(read(text).unwrap_err().to_string(), sentence);
    }
    let error = read("a: b: c\n").unwrap_err().to_string();
    assert!(error.starts_with("line 1, column 5: "), "{error}");
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    assert!(matches!(read(&text), Err(Error::Aliases { .. })));
}

#[test]
fn documents_are_told_apart() {
    let text = "# nothing yet\n---\na: 1\n--- {b: 2}\n...\n---\n---\n# end\n";
    let documents = read(text).unwrap();
    let values: Vec<_> = documents.iter().map(|document| document.value.clone()).collect();
    assert_eq!(
        values,
        [json!({"a": 1}), json!({"b": 2}), json!(null), json!(null)]
    );
    let mut targets = values.clone();
    targets[1] = json!({"b": 2, "c": [3]});
    let rewritten = rewrite(text, &documents, &targets);
    assert_eq!(
        rewritten.text,
        "# nothing yet\n---\na: 1\n--- {b: 2, c: [3]}\n...\n---\n---\n# end\n"
    );
}

#[test]
fn only_what_changes_is_touched() {
    there_and_back(
        "# the shop\nspec:   # here\n  containers:\n  # main\n  - name: app   # ours\n    env:\n    - {name: A, value: 'x'}\n\n    image:  \"shop:1\"\n\n  volumes: []\n# end\n",
        "# the shop\nspec:   # here\n  containers:\n  # main\n  - name: app   # ours\n    env:\n    - {name: A, value: 'x'}\n    - name: B\n      value: 'yes'\n\n    image:  \"shop:1\"\n    volumeMounts:\n    - name: dumps\n      mountPath: /dumps\n\n  volumes:\n  - name: dumps\n    emptyDir: {}\n  initContainers:\n  - name: agent\n# end\n",
    );
}

#[test]
fn lists_keep_their_indentation() {
    there_and_back(
        "spec:\n    containers:\n      - name: app\n        args: [a, 'b']\n",
        "spec:\n    containers:\n      - name: first\n        env:\n          - name: X\n            value: |-\n              1\n              2\n      - name: app\n        args: [a, 'b', c]\n      - name: last\n",
    );
}

#[test]
fn text_in_front_of_a_string_leaves_the_rest_as_it_was_written() {
    for (from, to) in [
        (
            "v: >-\n  -Xmx1g\n  -Xss1m\n",
            "v: >-\n  -XX:+A -Xmx1g\n  -Xss1m\n",
        ),
        ("v: |\n  -Xmx1g\n", "v: |\n  -XX:+A -Xmx1g\n"),
        ("v: '-Dq=''1'''\n", "v: '-XX:+A -Dq=''1'''\n"),
        (
            "v: \"-Dq=\\\"1\\\"\"  # why\n",
            "v: \"-XX:+A -Dq=\\\"1\\\"\"  # why\n",
        ),
        ("v: -Xmx1g\n", "v: -XX:+A -Xmx1g\n"),
    ] {
        there_and_back(from, to);
    }
}

#[test]
fn a_text_without_a_line_feed_at_its_end_gets_none() {
    there_and_back("a:\n  b: 1", "a:\n  b: 1\n  c: 2");
    there_and_back("a:\n- b: 1", "a:\n- b: 1\n- c: 2");
    there_and_back("a:\n  b: 1", "a:\n  b: 1\n  c: 2\n  d:\n  - 3");
    assert_eq!(
        change("a: 1", &json!({"a": 1, "b": "x\ny\n"})),
        "a: 1\nb: |\n  x\n  y\n"
    );
}

#[test]
fn line_ends_of_windows_stay() {
    there_and_back(
        "a:\r\n  b: 1\r\nz: 1\r\n",
        "a:\r\n  b: 1\r\n  c:\r\n  - d: 2\r\nz: 1\r\n",
    );
}

#[test]
fn json_in_yaml_is_continued_in_its_form() {
    there_and_back(
        "{\n  \"a\": {\n    \"b\": 1\n  },\n  \"l\": [1, 2]\n}\n",
        "{\n  \"a\": {\n    \"b\": 1,\n    c: 'x:y'\n  },\n  \"l\": [0, 1, 2, 3]\n}\n",
    );
}

#[test]
fn nothing_between_braces_becomes_something_in_its_place() {
    assert_eq!(
        change("m: {a: , b}  # x\n", &json!({"m": {"a": {"c": 1}, "b": 2}})),
        "m: {a: {c: 1} , b: 2}  # x\n"
    );
}

#[test]
fn a_document_that_cannot_be_edited_is_written_anew_and_says_so() {
    let text = "a: &x {b: 1}  # shared\nc: *x\n";
    let documents = read(text).unwrap();
    let rewritten = rewrite(text, &documents, &[json!({"a": {"b": 2}, "c": {"b": 1}})]);
    assert_eq!(
        rewritten,
        Rewritten {
            text: "a:\n  b: 2\nc:\n  b: 1\n".into(),
            comments_lost: 1
        }
    );
}

#[test]
fn a_merged_key_is_overridden_where_it_was_merged() {
    let text = "x: &x\n  k: 1  # one\nb:\n  <<: *x\n  z: 3\n";
    let target = json!({"x": {"k": 1}, "b": {"k": 2, "z": 3}});
    assert_eq!(
        change(text, &target),
        "x: &x\n  k: 1  # one\nb:\n  <<: *x\n  z: 3\n  k: 2\n"
    );
}

#[test]
fn a_key_without_a_value_is_one_again_afterwards() {
    there_and_back("a:\n  labels:\nb: 1\n", "a:\n  labels:\n    x: 'true'\nb: 1\n");
}

#[test]
fn the_first_key_of_an_item_can_go() {
    assert_eq!(change("- a: 1\n  b: 2\n  c: 3\n", &json!([{"c": 3}])), "- c: 3\n");
}

#[test]
fn blank_lines_that_belong_to_a_text_stay_in_it() {
    let text = "a:\n  b: |+\n    x\n\nz: 1\n";
    assert_eq!(
        change(text, &json!({"a": {"b": "x\n\n", "c": 1}, "z": 1})),
        "a:\n  b: |+\n    x\n\n  c: 1\nz: 1\n"
    );
}

#[test]
fn strings_are_quoted_where_a_reader_could_take_them_for_something_else() {
    let value = json!([
        "yes",
        "0644",
        "1_000",
        "12:30:00",
        "2001-01-01",
        "~",
        "",
        " x",
        "a: b",
        "a #b",
        "it's",
        "- x",
        "-x",
        "*",
        "x:",
        "é",
        "\u{7f}",
        "a\tb",
        "\u{feff}",
        "{}",
        "%x",
        "null",
        "1e3",
        "x y",
        "a\nb",
        "a\n",
        "\n",
        " a\nb",
        "a\n\n",
        "a\r\nb",
        "---",
    ]);
    let written = write(&value);
    assert_eq!(read(&written).unwrap()[0].value, value, "{written}");
    insta::assert_snapshot!(written);
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-z]{0,3}",
        "[-+0-9xe.:_ ]{0,5}",
        "[a-b \n\t#:'\"\\-]{0,8}",
        "\\PC{0,4}",
        any::<char>().prop_map(String::from),
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(|f| json!(f)),
        text.clone().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((prop_oneof!["[a-d]", "\\PC{0,3}"], inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in value()) {
        let written = write(&value);
        let read = read(&written).map_err(|e| TestCaseError::fail(format!("{e}\n{written}")))?;
        prop_assert_eq!(read.len(), 1, "{}", written);
        prop_assert_eq!(&read[0].value, &value, "{}", written);
    }

    #[test]
    fn any_document_can_be_changed_into_any_other(from in value(), to in value(), flow: bool) {
        let text = if flow { serde_json::to_string_pretty(&from).unwrap() } else { write(&from) };
        if let Ok(documents) = read(&text) && documents.len() == 1 {
            let rewritten = rewrite(&text, &documents, std::slice::from_ref(&to)).text;
            let read = read(&rewritten).map_err(|e| TestCaseError::fail(format!("{e}\n{text}\n{rewritten}")))?;
            prop_assert_eq!(&read[0].value, &to, "{}\n{}", text, rewritten);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[-a&*?:|>{}\\[\\],'\"# \n\t!<%.]{0,40}") {
        let _ = read(&text);
    }
}
