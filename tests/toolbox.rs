//! `heapship-agent jstat`, `jstack`, `jcmd` and `jinfo` beside the JDK's own tools, on the same JVMs.

use std::collections::BTreeSet;
use std::process::Command;

use crate::attach::{agent, idle, ran};
use crate::support::java::{self, Jdk};
use crate::support::process::Process;

const COLLECTORS: [&str; 3] = ["-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC"];

/// What the JDK's own tool says; `None` where the runtime lacks it.
fn jdks_own(jdk: &Jdk, tool: &str, arguments: &[&str]) -> Option<String> {
    let path = jdk.home.join("bin").join(tool);
    path.exists()
        .then(|| ran(Command::new(path).args(arguments)).done())
}

fn pid(jvm: &Process) -> String {
    jvm.id().to_string()
}

/// The columns of the first line over the figures of the last.
fn table(text: &str) -> Vec<(String, String)> {
    let mut lines = text.lines();
    let (header, figures) = (lines.next().unwrap(), lines.next_back().unwrap());
    header
        .split_whitespace()
        .map(str::to_owned)
        .zip(figures.split_whitespace().map(str::to_owned))
        .collect()
}

#[track_caller]
fn assert_same_figures(ours: &str, theirs: &str, what: &str) {
    let (ours, theirs) = (table(ours), table(theirs));
    for (column, figure) in &theirs {
        let (_, found) = ours
            .iter()
            .find(|(name, _)| name == column)
            .unwrap_or_else(|| panic!("{what}: no column {column}"));
        let number = |figure: &str| figure.parse::<f64>().ok();
        match (number(figure), number(found)) {
            (Some(theirs), Some(ours)) => assert!(
                (theirs - ours).abs() <= 0.1,
                "{what}: {column} is {theirs}, and ours {ours}"
            ),
            // Nothing: a dash, or a question mark as some of the JDK's tools have it.
            (None, None) => {}
            // A space without a size: per cent of nothing.
            (None, Some(ours)) => assert!(ours.abs() < 0.1, "{what}: {column} is {figure}, and ours {ours}"),
            (Some(_), None) => panic!("{what}: {column} is {figure}, and ours {found}"),
        }
    }
}

#[test]
fn jstat_has_the_columns_and_the_figures_of_the_jdks_own() {
    for jdk in java::jdks() {
        for collector in COLLECTORS {
            let jvm = idle(jdk, &[collector, "-Xmx64m"], 5);
            let pid = pid(&jvm);
            // Before the first collection most counters are 0.
            agent(&["jcmd", &pid, "GC.run"]).done();
            for table in ["-gc", "-gcutil"] {
                let Some(theirs) = jdks_own(jdk, "jstat", &[table, &pid]) else {
                    continue;
                };
                let ours = agent(&["jstat", table, &pid]).done();
                assert_same_figures(&ours, &theirs, &format!("JDK {} {collector} {table}", jdk.major));
            }
        }
    }
}

#[test]
fn jstat_repeats_its_header_and_ends_after_the_last_sample() {
    let jvm = idle(java::ordinary(), &[], 1);
    let text = agent(&["jstat", "-gc", "-t", "-h2", &pid(&jvm), "20ms", "5"]).done();
    let headers: Vec<bool> = text.lines().map(|line| line.contains("S0C")).collect();
    assert_eq!(headers, [true, false, false, true, false, false, true, false]);
    let times: Vec<f64> = text
        .lines()
        .filter(|line| !line.contains("S0C"))
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn jstat_asks_the_jvm_that_publishes_nothing() {
    for jdk in java::jdks() {
        for collector in COLLECTORS {
            let jvm = idle(jdk, &[collector, "-XX:-UsePerfData", "-Xmx64m"], 8);
            agent(&["jcmd", &pid(&jvm), "GC.run"]).done();
            let text = agent(&["jstat", "-gc", "-t", &pid(&jvm)]).done();
            let figures = table(&text);
            let figure = |column: &str| {
                let (_, figure) = figures.iter().find(|(name, _)| name == column).unwrap();
                figure.parse::<f64>().ok()
            };
            let old = figure("OU").unwrap();
            // The program's eight megabytes have become old.
            assert!(
                (8_000.0..20_000.0).contains(&old),
                "JDK {} {collector}: {text}",
                jdk.major
            );
            assert!(figure("Timestamp").is_some(), "{text}");
            assert_eq!(figure("YGC"), None, "{text}");
            agent(&["jcmd", &pid(&jvm), "PerfCounter.print"]).refused(3, "publishes no counters");
        }
    }
}

#[test]
fn jstack_names_the_threads_that_the_jdks_own_names() {
    let names = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| Some(line.strip_prefix('"')?.split_once('"')?.0.to_owned()))
            // They come and go, or are there because somebody attached.
            .filter(|name| {
                !name.contains("CompilerThread") && !name.contains("Attach") && !name.contains("Signal")
            })
            .collect()
    };
    for jdk in java::jdks() {
        let jvm = idle(jdk, &[], 1);
        let ours = agent(&["jstack", "-l", &pid(&jvm)]).done();
        assert!(
            ours.contains("Full thread dump") && ours.contains("Locked ownable synchronizers"),
            "{ours}"
        );
        assert!(ours.contains("at Idle.main(Idle.java"), "{ours}");
        if let Some(theirs) = jdks_own(jdk, "jstack", &["-l", &pid(&jvm)]) {
            assert_eq!(names(&ours), names(&theirs), "JDK {}", jdk.major);
        }
    }
}

#[test]
fn jcmd_runs_what_the_jvm_knows_and_lists_the_jvms() {
    for jdk in java::jdks() {
        let jvm = idle(jdk, &["-Dis.it=mine"], 1);
        let pid = pid(&jvm);
        let properties = agent(&["jcmd", &pid, "VM.system_properties"]).done();
        assert!(
            properties.starts_with(&format!("{pid}:\n")) && properties.contains("is.it=mine"),
            "{properties}"
        );
        let flags = agent(&["jcmd", &pid, "VM.flags", "-all"]).done();
        assert!(flags.contains("HeapDumpPath"), "JDK {}", jdk.major);
        agent(&["jcmd", &pid, "No.such"]).refused(3, "Unknown diagnostic command");
        let listed = agent(&["jcmd"]).done();
        assert!(
            listed.lines().any(|line| line == format!("{pid} Idle")),
            "{listed}"
        );
        if let Some(theirs) = jdks_own(jdk, "jcmd", &[&pid, "VM.flags"]) {
            assert_eq!(agent(&["jcmd", &pid, "VM.flags"]).done(), theirs);
        }
        if let Some(theirs) = jdks_own(jdk, "jcmd", &[&pid, "PerfCounter.print"]) {
            let names = |text: &str| -> BTreeSet<String> {
                text.lines()
                    .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
                    // The JDK's reader adds what the file's header says.
                    .filter(|name| !name.starts_with("sun.perfdata."))
                    .collect()
            };
            let ours = agent(&["jcmd", &pid, "PerfCounter.print"]).done();
            assert_eq!(names(&ours), names(&theirs), "JDK {}", jdk.major);
        }
    }
}

#[test]
fn jinfo_shows_and_sets_what_can_be_set() {
    for jdk in java::jdks() {
        let jvm = idle(jdk, &[], 1);
        let pid = pid(&jvm);
        let shown = |name: &str| agent(&["jinfo", "-flag", name, &pid]).done();
        for (word, name, expected) in [
            (
                "+HeapDumpOnOutOfMemoryError",
                "HeapDumpOnOutOfMemoryError",
                "-XX:+HeapDumpOnOutOfMemoryError\n",
            ),
            (
                "HeapDumpOnOutOfMemoryError=false",
                "HeapDumpOnOutOfMemoryError",
                "-XX:-HeapDumpOnOutOfMemoryError\n",
            ),
            ("HeapDumpPath=true", "HeapDumpPath", "-XX:HeapDumpPath=true\n"),
        ] {
            agent(&["jinfo", "-flag", word, &pid]).done();
            assert_eq!(shown(name), expected, "JDK {}", jdk.major);
            if let Some(theirs) = jdks_own(jdk, "jinfo", &["-flag", name, &pid]) {
                assert_eq!(theirs, expected, "JDK {}", jdk.major);
            }
        }
        agent(&["jinfo", "-flag", "+UseSerialGC", &pid]).refused(3, "cannot be changed");
        agent(&["jinfo", "-flag", "NoSuch", &pid]).refused(2, "has no flag NoSuch");
    }
}
