//! Variables as the kubelet makes them.

use super::*;
use crate::inject::environment::{Environment, is_literal, is_optional};

const NAME: &str = "JAVA_TOOL_OPTIONS";

fn literal(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

fn from_field(name: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
}

#[test]
fn the_last_entry_of_a_name_counts_and_sees_those_before_it() {
    let container = json!({"env": [
        literal("A", "1"),
        literal(NAME, "first $(A)"),
        literal("A", "2"),
        literal(NAME, "$(A) $(JAVA_TOOL_OPTIONS) $(LATER)"),
        literal("LATER", "3"),
    ]});
    let environment = Environment::of(&container);
    assert_eq!(environment.literal(NAME), Some("2 first 1 $(LATER)"));
    assert_eq!(
        environment.raw_literal(NAME),
        Some("$(A) $(JAVA_TOOL_OPTIONS) $(LATER)")
    );
    assert_eq!(environment.first(NAME), Some(1));
    assert_eq!(environment.last(NAME).map(|(index, _)| index), Some(3));
    assert_eq!(environment.positions(NAME).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(environment.expand_for(NAME, "$(A) $(LATER)"), "2 $(LATER)");
    assert_eq!(environment.expand_for("NEW", "$(A) $(LATER)"), "2 3");
    assert_eq!(
        (environment.first("NEW"), environment.last("NEW").is_none()),
        (None, true)
    );
    assert_eq!(
        (environment.literal("NEW"), environment.raw_literal("NEW")),
        (None, None)
    );
}

#[test]
fn a_text_is_known_where_a_literal_or_nothing_at_all_sets_it() {
    let of = |entries: Value, sources: Value| json!({"env": entries, "envFrom": sources});
    let any = json!([{"configMapRef": {"name": "c"}}]);
    let prefixed = |prefix: &str| json!([{"prefix": prefix, "secretRef": {"name": "s"}}]);
    for (container, known, may_define) in [
        (of(json!([]), json!([])), true, false),
        (of(json!([literal(NAME, "")]), json!([])), true, true),
        (of(json!([from_field(NAME)]), json!([])), false, true),
        (
            of(json!([from_field(NAME), literal(NAME, "")]), json!([])),
            true,
            true,
        ),
        (of(json!([]), any.clone()), false, true),
        (of(json!([literal(NAME, "")]), any), true, true),
        (of(json!([]), prefixed("JAVA_")), false, true),
        (of(json!([]), prefixed("OTHER_")), true, false),
        (of(json!([]), prefixed(NAME)), true, false),
    ] {
        let environment = Environment::of(&container);
        assert_eq!(environment.is_literal(NAME), known, "{container}");
        assert_eq!(environment.may_define(NAME), may_define, "{container}");
    }
}

#[test]
fn every_source_that_can_define_the_name_gives_one_optional_link() {
    let container = json!({"envFrom": [
        {"configMapRef": {"name": "a"}},
        {"secretRef": {"name": "b"}, "prefix": "JAVA_"},
        {"configMapRef": {"name": "c"}, "prefix": "OTHER_"},
        {"futureRef": {"name": "d"}},
    ]});
    let link = |kind: &str, name: &str, key: &str| json!({"name": "NEW", "valueFrom": {kind: {"name": name, "key": key, "optional": true}}});
    assert_eq!(
        Environment::of(&container).source_links(NAME, "NEW"),
        [
            link("configMapKeyRef", "a", NAME),
            link("secretKeyRef", "b", "TOOL_OPTIONS")
        ]
    );
}

#[test]
fn whatever_looks_at_the_variable_refers_to_it() {
    let refers = |container: &Value| Environment::of(container).is_referred_to(container, NAME);
    let reference = "x $(JAVA_TOOL_OPTIONS)";
    assert!(refers(&json!({"args": ["-jar", reference]})));
    assert!(refers(&json!({"command": [reference]})));
    assert!(!refers(&json!({"args": ["$$(JAVA_TOOL_OPTIONS)", "$(OTHER)"]})));
    assert!(refers(
        &json!({"env": [literal(NAME, "a"), literal("LATER", reference)]})
    ));
    assert!(!refers(
        &json!({"env": [literal("EARLIER", reference), literal(NAME, "a")]})
    ));
    // `$(…)` never sees what `envFrom` gives.
    assert!(!refers(&json!({"env": [literal("OTHER", reference)]})));
    // An earlier entry of the name is what the last one builds on, as long as both stay.
    assert!(!refers(
        &json!({"env": [literal(NAME, "a"), literal(NAME, reference)]})
    ));
    assert!(refers(
        &json!({"env": [literal(NAME, reference), literal("X", reference), literal(NAME, "a")]})
    ));
    assert!(refers(
        &json!({"env": [literal(NAME, "a"), literal(NAME, reference), from_field(NAME)]})
    ));
}

#[test]
fn ours_stand_behind_all_entries_that_they_build_on_and_before_those_that_see_them() {
    let from = json!({"configMapKeyRef": {"name": "c", "key": "k"}});
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "app", "env": [
        literal("A", "1"),
        {"name": NAME, "valueFrom": from},
        literal("B", "2"),
        {"name": NAME, "valueFrom": from},
        literal("C", "3"),
    ]}]}});
    let injected = outcome(&pod).pod;
    let entries = injected["spec"]["containers"][0]["env"].as_array().unwrap();
    let names: Vec<&str> = entries
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    let original = "HEAPSHIP_ORIGINAL_JAVA_TOOL_OPTIONS";
    assert_eq!(names, ["A", original, original, "B", original, NAME, "C"]);
    assert_eq!(uninject(&injected), pod);
}

#[test]
fn the_command_line_is_all_that_beats_the_variable() {
    let container = json!({
        "env": [
            literal("JDK_JAVA_OPTIONS", "-Xjdk"),
            literal("JDK_JAVA_OPTIONS", "-Xlast"),
            literal(NAME, "-XX:HeapDumpPath=/own"),
            literal("_JAVA_OPTIONS", "-XX:HeapDumpPath=/strongest"),
            literal("HEAPSHIP_ORIGINAL_JAVA_OPTS", "-XX:HeapDumpPath=/original"),
            literal("CATALINA_OPTS", "-XX:HeapDumpPath=/catalina"),
            literal("WORDS", "HeapDump without a flag"),
            literal("FLAGS", "-XX:+UseG1GC"),
            from_field("JAVA_OPTS"),
        ],
        "command": ["java", "$(FLAGS)"],
        "args": ["-Da='b c'", "it's broken  -Xq"],
    });
    assert_eq!(
        Environment::of(&container).command_line(&container, NAME),
        [
            "-XX:HeapDumpPath=/catalina",
            "-Xlast",
            "java",
            "-XX:+UseG1GC",
            "-Da=b c",
            "it's",
            "broken",
            "-Xq"
        ]
    );
}

#[test]
fn a_value_from_elsewhere_is_no_literal_and_optional_where_it_says_so() {
    assert!(is_literal(&literal("A", "")) && is_literal(&json!({"name": "A", "valueFrom": null})));
    assert!(!is_literal(&from_field("A")));
    let reference = |optional: Value| json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k", "optional": optional}}});
    assert!(is_optional(&reference(json!(true))));
    assert!(!is_optional(&reference(json!(false))) && !is_optional(&reference(Value::Null)));
    assert!(!is_optional(&literal("A", "")));
}
