use std::{collections::HashMap, fmt};

use super::{class_name, layout::Fields, symbols::Symbols};

/// The thread that ran out of memory.
///
/// The JVM marks it in dumps that it makes for this reason (JDK 8 to 25): its stack begins with a call that nobody made,
/// of the constructor of `java.lang.OutOfMemoryError`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutOfMemory {
    /// Its calls, the innermost first, without the mark.
    pub stack: Vec<Frame>,
}

/// One call, printed as in a stack trace: `Leak.main(Leak.java:12)`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// As in Java source.
    pub class: String,
    /// Without its parameters.
    pub method: String,
    /// Name of the source file.
    pub file: Option<String>,
    /// Where in it.
    pub line: Line,
}

/// Where in its file a call stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Line {
    /// A line, from 1.
    Number(u32),
    /// The method is native.
    Native,
    /// The class file does not say.
    Unknown,
}

/// What is needed to find that thread while a dump goes by: its frames come right before the trace that lists them, so
/// only those since the last trace are kept.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    classes: HashMap<u32, u64>,
    frames: HashMap<u64, Raw>,
    found: Option<OutOfMemory>,
}

/// A frame as the dump has it: ids of symbols, and the serial of a class.
#[derive(Clone, Copy, Debug)]
struct Raw {
    method: u64,
    signature: u64,
    file: u64,
    class: u32,
    line: u32,
}

impl Stacks {
    /// Whether a frame's or trace's body of this length is worth reading.
    pub(super) fn wants(length: u32) -> bool {
        length <= LONGEST
    }

    pub(super) fn class(&mut self, serial: u32, name: u64) {
        if self.classes.len() < CLASSES {
            self.classes.insert(serial, name);
        }
    }

    pub(super) fn frame(&mut self, mut body: Fields<'_>) {
        let id = body.id();
        let (method, signature, file) = (body.id(), body.id(), body.id());
        let (class, line) = (body.u4(), body.u4());
        if self.found.is_none() && self.frames.len() < FRAMES {
            self.frames.insert(
                id,
                Raw {
                    method,
                    signature,
                    file,
                    class,
                    line,
                },
            );
        }
    }

    pub(super) fn trace(&mut self, mut body: Fields<'_>, symbols: &Symbols) {
        let (_stack, _thread, count) = (body.u4(), body.u4(), body.u4());
        let first = body.id();
        if count > 0
            && self
                .frames
                .get(&first)
                .is_some_and(|frame| self.is_mark(frame, symbols))
        {
            let ids = (1..count.min(LONGEST / 4)).map(|_| body.id());
            // An id of no known frame ends the list: behind the end of the record there are only such.
            let stack = ids
                .map_while(|id| self.frames.get(&id))
                .map(|frame| self.resolve(frame, symbols));
            self.found = Some(OutOfMemory {
                stack: stack.collect(),
            });
        }
        self.frames.clear();
    }

    pub(super) fn take(&mut self) -> Option<OutOfMemory> {
        self.found.take()
    }

    fn is_mark(&self, frame: &Raw, symbols: &Symbols) -> bool {
        symbols.find(frame.method) == Some(b"<init>")
            && symbols.find(frame.signature) == Some(b"()V")
            && self.class_name(frame, symbols) == Some(b"java/lang/OutOfMemoryError")
    }

    fn class_name<'a>(&self, frame: &Raw, symbols: &'a Symbols) -> Option<&'a [u8]> {
        symbols.find(*self.classes.get(&frame.class)?)
    }

    fn resolve(&self, frame: &Raw, symbols: &Symbols) -> Frame {
        let unknown = || "?".to_owned();
        Frame {
            class: self
                .class_name(frame, symbols)
                .map_or_else(unknown, class_name::pretty),
            method: symbols.find(frame.method).map_or_else(unknown, class_name::text),
            file: symbols.find(frame.file).map(class_name::text),
            line: match frame.line.cast_signed() {
                1.. => Line::Number(frame.line),
                -3 => Line::Native,
                _ => Line::Unknown,
            },
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            class,
            method,
            file,
            line,
        } = self;
        write!(f, "{class}.{method}(")?;
        match (line, file) {
            (Line::Native, _) => f.write_str("Native Method")?,
            (_, None) => f.write_str("Unknown Source")?,
            (Line::Unknown, Some(file)) => f.write_str(file)?,
            (Line::Number(line), Some(file)) => write!(f, "{file}:{line}")?,
        }
        f.write_str(")")
    }
}

/// Bytes of a trace of 131072 calls: the depth of a stack is bounded by its size, a megabyte by default.
const LONGEST: u32 = 1 << 20;

const FRAMES: usize = 1 << 17;

/// See the same limit of the histogram.
const CLASSES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use crate::hprof::{
        Line, histogram,
        sample::{Dump, Objects},
    };

    fn dump(class_of_the_mark: &str) -> Vec<u8> {
        Dump::new()
            .utf8(1, "<init>")
            .utf8(2, "()V")
            .utf8(3, class_of_the_mark)
            .utf8(4, "main")
            .utf8(5, "Leak")
            .utf8(6, "Leak.java")
            .load_class(1, 0x100, 3)
            .load_class(2, 0x200, 5)
            .trace(1, 0, &[])
            .frame(1, 4, 2, 6, 2, 9)
            .trace(2, 1, &[1])
            .frame(2, 1, 2, 0, 1, 0)
            .frame(3, 4, 2, 6, 2, 12)
            .frame(4, 4, 2, 0, 2, -3)
            .frame(5, 4, 2, 6, 2, -1)
            .trace(3, 2, &[2, 3, 4, 5])
            .segment(Objects::roots)
            .end()
    }

    #[test]
    fn the_stack_of_the_thread_that_ran_out_of_memory_is_found() {
        let histogram = histogram(&dump("java/lang/OutOfMemoryError")[..]).unwrap();
        let stack = &histogram.out_of_memory().unwrap().stack;
        let printed: Vec<String> = stack.iter().map(ToString::to_string).collect();
        assert_eq!(
            printed,
            [
                "Leak.main(Leak.java:12)",
                "Leak.main(Native Method)",
                "Leak.main(Leak.java)"
            ]
        );
        assert_eq!(stack[2].line, Line::Unknown);
    }

    #[test]
    fn a_dump_for_another_reason_has_no_such_thread() {
        let histogram = histogram(&dump("java/lang/Throwable")[..]).unwrap();
        assert_eq!(histogram.out_of_memory(), None);
    }
}
