//! Finds JVMs and speaks HotSpot's attach protocol to them, without a JDK.
//!
//! In: a PID of our PID namespace. Out: a [`Jvm`] that dumps its heap, prints a histogram or runs a diagnostic command; or
//! the reason why not and what would work. Works on 8 to 28, in the application's container or beside it with a shared PID
//! namespace. Out of scope: `OpenJ9` (other protocol, other dump format) and native images (no protocol).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub mod find;
pub mod flag;
pub mod hotspot;
pub mod launch;
pub mod process;
pub mod reply;
mod trigger;

pub use find::Jvm;
pub use flag::Flag;
pub use reply::{Dump, Objects, Reply};

/// Why a process was not attached to, or what went wrong when it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The PID is not there, or has ended.
    #[error("there is no process {pid} in this PID namespace; `heapship-agent jps` lists the JVMs")]
    NoSuchProcess {
        /// The one asked for.
        pid: u32,
    },
    /// It belongs to someone else.
    #[error("process {pid} belongs to uid {owner} and this is uid {uid}; run it as uid {owner}")]
    OtherUser {
        /// The process.
        pid: u32,
        /// Its effective user.
        owner: u32,
        /// Ours.
        uid: u32,
    },
    /// Its folder in `/proc` is closed to us although the user is the same.
    #[error(
        "process {pid} cannot be looked into: it has capabilities that this process lacks, or is protected; run this \
         in the application's own container"
    )]
    Closed {
        /// The process.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another program, or a native image.
    #[error(
        "process {pid} ({name}) is not a JVM: it has no libjvm.so; a native image dumps its heap only by itself, when built \
         with --enable-monitoring=heapdump"
    )]
    NotAJvm {
        /// The process.
        pid: u32,
        /// Its command name.
        name: String,
    },
    /// Eclipse `OpenJ9`.
    #[error(
        "process {pid} is an OpenJ9 JVM, which neither speaks HotSpot's protocol nor writes HPROF; its own JDK's \
         `jcmd {pid} Dump.heap` writes a PHD dump"
    )]
    OpenJ9 {
        /// The process.
        pid: u32,
    },
    /// `-XX:+DisableAttachMechanism`.
    #[error(
        "the JVM {pid} was started with -XX:+DisableAttachMechanism and answers nobody; remove that option (dumps on \
         OutOfMemoryError do not need it)"
    )]
    Disabled {
        /// The JVM.
        pid: u32,
    },
    /// The JVM cannot make its socket.
    #[error(
        "the JVM {pid} cannot make its attach socket: /tmp is not writable for uid {uid}; mount an emptyDir at /tmp"
    )]
    TmpNotWritable {
        /// The JVM.
        pid: u32,
        /// Its user.
        uid: u32,
    },
    /// A SIGQUIT would end it.
    #[error(
        "the JVM {pid} has no attach socket and does not catch SIGQUIT, which would kill it: it is still starting, or runs \
         with -Xrs and its socket in /tmp was removed; try again, or restart it"
    )]
    Deaf {
        /// The JVM.
        pid: u32,
    },
    /// SIGSTOP, or a debugger.
    #[error("process {pid} is stopped and cannot answer; let it go on with `kill -CONT {pid}`")]
    Stopped {
        /// The process.
        pid: u32,
    },
    /// The file that tells the JVM to listen could not be made.
    #[error(
        "cannot create {path}, which tells the JVM to listen, as uid {uid}; start it with -XX:+StartAttachListener"
    )]
    Trigger {
        /// Where it was tried last.
        path: PathBuf,
        /// The user that it has to belong to.
        uid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The signal could not be sent.
    #[error("cannot send SIGQUIT to the JVM {pid}")]
    Signal {
        /// The JVM.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// No socket in time.
    #[error(
        "the JVM {pid} did not open its attach socket within {} s: it is in a long pause, or its heap is full; \
         -XX:+StartAttachListener opens the socket at start",
        waited.as_secs()
    )]
    NoSocket {
        /// The JVM.
        pid: u32,
        /// How long.
        waited: Duration,
    },
    /// Somebody else put a file where the JVM's socket belongs.
    #[error(
        "{path} is not the socket of the JVM: it belongs to uid {owner}; do not share /tmp with other users"
    )]
    ForeignSocket {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The socket could not be reached.
    #[error("cannot connect to {path}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The protocol cannot carry it.
    #[error("the attach protocol carries arguments of at most 1024 bytes without NUL, this one has {length}")]
    TooLong {
        /// In bytes.
        length: usize,
    },
    /// The connection broke.
    #[error("the connection to the JVM {pid} broke")]
    Broken {
        /// The JVM.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// It ended while it was asked.
    #[error("the JVM {pid} ended before it had answered")]
    Ended {
        /// The JVM.
        pid: u32,
    },
    /// It looked at who asks and hung up.
    #[error(
        "the JVM {pid} closed the connection without a reply: it answers only uid {uid} with gid {gid}, and root only since \
         JDK 11; run this as {uid}:{gid}"
    )]
    HungUp {
        /// The JVM.
        pid: u32,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// The caller's time was up. What was asked for may still be done.
    #[error("the JVM {pid} has not answered within {} s; it goes on with what it was asked to do", waited.as_secs())]
    TimedOut {
        /// The JVM.
        pid: u32,
        /// Since the request.
        waited: Duration,
    },
    /// Not a reply of the protocol.
    #[error("the JVM {pid} answered what is not a reply of the attach protocol: {text:?}")]
    Malformed {
        /// The JVM.
        pid: u32,
        /// The beginning of it.
        text: String,
    },
    /// It refused the command.
    #[error("the JVM {pid} refused (code {code}): {text}")]
    Refused {
        /// The JVM.
        pid: u32,
        /// What it said first.
        code: i32,
        /// And why.
        text: String,
    },
    /// It knows no such flag.
    #[error("the JVM {pid} has no flag {name}; `heapship-agent jcmd {pid} VM.flags -all` lists those it has")]
    NoSuchFlag {
        /// The JVM.
        pid: u32,
        /// As asked.
        name: String,
    },
    /// The dump was not written, or not whole.
    #[error("the JVM {pid} did not write {path}: {text}")]
    NotDumped {
        /// The JVM.
        pid: u32,
        /// The file.
        path: PathBuf,
        /// Its words.
        text: String,
    },
}
