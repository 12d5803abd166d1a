//! The attach protocol's words: requests as bytes, replies as values. Version 1, which 8 to 28 speak.

use std::time::Duration;

use crate::quantity::Bytes;

/// Which objects a dump or a histogram holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Objects {
    /// Those that are reachable: the JVM runs a full collection first.
    Live,
    /// All that lie in the heap, garbage included.
    All,
}

impl Objects {
    /// As commands and file names spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::All => "all",
        }
    }

    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Live => "-live",
            Self::All => "-all",
        }
    }
}

/// A command that could not be put into the protocol's form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unfit {
    pub(super) length: usize,
}

/// One request: version, command and exactly three arguments, each ended by a NUL.
pub(super) fn request(command: &str, arguments: [&[u8]; 3]) -> Result<Vec<u8>, Unfit> {
    let mut bytes = b"1\0".to_vec();
    bytes.extend(command.as_bytes());
    bytes.push(0);
    for argument in arguments {
        // The JVM closes without a word when an argument is too long, and a NUL would shift those behind it.
        if argument.len() > LONGEST_ARGUMENT || argument.contains(&0) {
            return Err(Unfit {
                length: argument.len(),
            });
        }
        bytes.extend(argument);
        bytes.push(0);
    }
    Ok(bytes)
}

/// What came back: a code, then text to the end of the stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// 0 means that the command ran, not that it did what was wanted.
    pub code: i32,
    /// What the command printed.
    pub text: String,
}

impl Reply {
    /// Reads a whole reply; `None` when it does not begin with a number on a line of its own.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (code, text) = text.split_once('\n').unwrap_or((text.as_ref(), ""));
        Some(Self {
            code: code.trim_end_matches('\r').parse().ok()?,
            text: text.to_owned(),
        })
    }

    /// Whether a dump was written. The code is 0 also when it was not, and from 25 on it even comes first.
    #[must_use]
    pub fn says_dumped(&self) -> bool {
        self.code == 0 && self.text.contains("Heap dump file created")
    }

    /// Size of the file that was written, where the reply states it (11 and later).
    #[must_use]
    pub fn dump_size(&self) -> Option<Bytes> {
        let (_, rest) = self.text.split_once("Heap dump file created [")?;
        rest.split_once(" bytes")?.0.parse().ok().map(Bytes)
    }

    /// The line that names what went wrong, without the announcement before it.
    #[must_use]
    pub fn complaint(&self) -> &str {
        self.text
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty() && !line.starts_with("Dumping heap to "))
            .unwrap_or("no reason given")
    }
}

/// A dump that was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dump {
    /// Size of the file; `None` where it lies in a place that only the JVM sees.
    pub size: Option<Bytes>,
    /// From the request to the end of the reply.
    pub took: Duration,
}

/// Heap in use in the text of `GC.heap_info`: the sum over the heap's parts, without metaspace.
#[must_use]
pub fn heap_used(heap_info: &str) -> Option<Bytes> {
    let mut total: Option<u64> = None;
    for line in heap_info.lines() {
        if line.trim_start().starts_with("Metaspace") {
            break;
        }
        // `used 635K` by most collectors, `2048K used` by Shenandoah; `eden space 69952K, 4% used` is a part of a sum.
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let mut pairs = words.windows(2);
        let behind = |pair: &[&str]| {
            if let ["used", size] = pair {
                amount(size)
            } else {
                None
            }
        };
        let before = |pair: &[&str]| {
            if let [size, "used"] = pair {
                amount(size)
            } else {
                None
            }
        };
        let used = pairs.clone().find_map(behind).or_else(|| pairs.find_map(before));
        if let Some(used) = used {
            total = Some(total.unwrap_or(0).saturating_add(used));
        }
    }
    total.map(Bytes)
}

/// The Java version's first number in the text of `VM.version`.
#[must_use]
pub fn major(vm_version: &str) -> Option<u32> {
    let version = vm_version
        .lines()
        .find_map(|line| line.trim().strip_prefix("JDK "))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn amount(text: &str) -> Option<u64> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let shift = match unit {
        "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// attachListener.hpp: `arg_length_max`.
const LONGEST_ARGUMENT: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_five_strings() {
        let bytes = request("dumpheap", [b"/dumps/a.hprof", b"-all", b""]);
        assert_eq!(bytes.unwrap(), b"1\0dumpheap\0/dumps/a.hprof\0-all\0\0");
        assert_eq!(
            request("jcmd", [&[b'a'; 1025], b"", b""]),
            Err(Unfit { length: 1025 })
        );
        assert!(request("jcmd", [b"a\0b", b"", b""]).is_err());
    }

    #[test]
    fn only_the_sentence_means_that_it_was_dumped() {
        let reply = |bytes: &[u8]| Reply::parse(bytes).unwrap();
        assert!(reply(b"0\nHeap dump file created\n").says_dumped());
        assert!(
            reply(b"0\nDumping heap to /a ...\nHeap dump file created [3412 bytes in 0.031 secs]\n")
                .says_dumped()
        );
        let stated = reply(b"0\nDumping heap to /a ...\nHeap dump file created [3412 bytes in 0.031 secs]\n")
            .dump_size();
        assert_eq!(stated, Some(Bytes(3412)));
        for (bytes, complaint) in [
            (&b"0\nFile exists\n"[..], "File exists"),
            (
                b"0\nDumping heap to /a ...\nUnable to create /a: File exists\n",
                "Unable to create /a: File exists",
            ),
            (
                b"0\nDumping heap to /a ...\nDump file is incomplete: x\n",
                "Dump file is incomplete: x",
            ),
            (
                b"-1\nInvalid argument to dumpheap operation: X\n",
                "Invalid argument to dumpheap operation: X",
            ),
            (b"101\n", "no reason given"),
            (b"0\nDumping heap to /a ...\n", "no reason given"),
        ] {
            assert!(!reply(bytes).says_dumped());
            assert_eq!(reply(bytes).complaint(), complaint);
        }
        assert_eq!(Reply::parse(b""), None);
        assert_eq!(Reply::parse(b"hello\n"), None);
    }

    #[test]
    fn adds_up_the_heap_of_every_collector() {
        let meta =
            " Metaspace       used 150M, committed 384K, reserved 1056768K\n  class space    used 9M\n";
        for (text, kib) in [
            (
                " garbage-first heap   total 256000K, used 3584K [0x0, 0x1)\n  region size 1024K, 3 young (3072K)\n",
                3584,
            ),
            (
                " def new generation   total 78656K, used 2798K [0x0)\n  eden space 69952K,   4% used [0x0)\n \
                 tenured generation   total 174784K, used 5K [0x0)\n   the space 174784K,   0% used [0x0)\n",
                2803,
            ),
            (
                " PSYoungGen      total 76288K, used 3932K [0x0)\n ParOldGen       total 175104K, used 0K [0x0)\n",
                3932,
            ),
            (
                " ZHeap           used 12M, capacity 256M, max capacity 4096M\n",
                12 << 10,
            ),
            (
                "Shenandoah Heap\n 256M max, 256M soft max, 256M committed, 2048K used\n 512 x 512K regions\n",
                2048,
            ),
        ] {
            assert_eq!(
                heap_used(&format!("{text}{meta}")),
                Some(Bytes(kib << 10)),
                "{text}"
            );
        }
        assert_eq!(heap_used(meta), None);
    }

    #[test]
    fn reads_the_version_of_old_and_new() {
        assert_eq!(
            major("OpenJDK 64-Bit Server VM version 17.0.15+6-Debian\nJDK 17.0.15\n"),
            Some(17)
        );
        assert_eq!(
            major("OpenJDK 64-Bit Server VM version 25.504-b08\nJDK 8.0_504\n"),
            Some(8)
        );
        assert_eq!(major(""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reply_parsers_panic(bytes: Vec<u8>) {
            if let Some(reply) = Reply::parse(&bytes) {
                let _ = (reply.says_dumped(), reply.complaint().len());
            }
        }

        #[test]
        fn no_text_makes_the_other_parsers_panic(text in "(?s)[ ,usedK0-9MB\\n%]{0,80}|.{0,80}") {
            let _ = (heap_used(&text), major(&text));
        }
    }
}
