use super::{
    header::{self, Header, IdSize, Version},
    input::Cut,
    layout::{self, Fields, Kind, RECORD_HEADER, record, sub},
    verdict::{NotHprof, Reason, Verdict},
};

/// What somebody wants to know about a dump while it is parsed. Everything is skipped unless a method here takes it.
pub(super) trait Sink {
    /// Whether [`Sink::record`] wants this record's body, which is then held in memory whole.
    fn wants(&self, _tag: u8, _length: u32) -> bool {
        false
    }
    /// A record that was wanted.
    fn record(&mut self, _tag: u8, _body: Fields<'_>) {}
    /// A class: its id and that of its superclass, 0 for none.
    fn class(&mut self, _id: u64, _superclass: u64) {}
    /// A field that the last class adds to each of its instances.
    fn field(&mut self, _kind: Kind) {}
    fn instance(&mut self, _id: u64, _class: u64) {}
    fn object_array(&mut self, _id: u64, _class: u64, _elements: u32) {}
    fn primitive_array(&mut self, _id: u64, _kind: Kind, _elements: u32) {}
}

/// Reads a dump block by block: the one place that knows how records follow each other.
///
/// Each state says what comes next, and every step that can be taken with the bytes at hand is taken at once, so that the
/// state depends on the bytes alone and not on how they were cut into blocks.
#[derive(Debug, Default)]
pub(super) struct Parser<S> {
    sink: S,
    state: State,
    cut: Cut,
    /// Bytes fed, the current block included.
    fed: u64,
    /// Where the record or sub-record at hand begins: all before it is whole.
    at: u64,
    header: Option<Header>,
    heap: Option<Heap>,
    body: Vec<u8>,
}

/// The heap record at hand, or the last one.
#[derive(Clone, Copy, Debug)]
struct Heap {
    start: u64,
    length: u32,
    /// Bytes until its end.
    left: u64,
    /// The length is not to be believed: see [`Parser::ends_where_it_says`].
    open: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Header,
    Record,
    Collect {
        tag: u8,
        left: u64,
    },
    Skip {
        left: u64,
        then: Then,
    },
    SubRecord,
    Class {
        part: Part,
        items: u16,
    },
    Ended,
    Failed(Verdict),
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Record,
    SubRecord,
}

/// The lists that a class consists of, in their order.
#[derive(Clone, Copy, Debug)]
enum Part {
    Constants,
    Statics,
    Fields,
}

/// Why a step was not taken.
enum Stop {
    /// The block is used up.
    Wait,
    Fail(Verdict),
}

type Step = Result<State, Stop>;

impl<S: Sink> Parser<S> {
    pub(super) fn feed(&mut self, mut block: &[u8]) {
        self.fed = self.fed.saturating_add(block.len() as u64);
        loop {
            let step = match self.state {
                State::Header => self.file_header(&mut block),
                State::Record => self.record(&mut block),
                State::Collect { tag, left } => self.collect(&mut block, tag, left),
                State::Skip { left, then } => self.skip(&mut block, left, then),
                State::SubRecord => self.sub_record(&mut block),
                State::Class { part, items } => self.class(&mut block, part, items),
                State::Ended if block.is_empty() => return,
                State::Ended => Err(self.damage(Reason::BytesAfterEnd)),
                State::Failed(_) => return,
            };
            match step {
                Ok(next) => self.state = next,
                Err(Stop::Wait) => return,
                Err(Stop::Fail(verdict)) => self.state = State::Failed(verdict),
            }
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.fed
    }

    pub(super) fn header(&self) -> Option<Header> {
        self.header
    }

    pub(super) fn into_sink(self) -> S {
        self.sink
    }

    pub(super) fn verdict(&self) -> Verdict {
        let truncated = |reason| Verdict::Truncated {
            offset: self.at,
            reason,
        };
        match self.state {
            State::Header => Verdict::NotHprof(NotHprof::TooShort),
            State::Failed(verdict) => verdict,
            _ if self.heap.is_none() => truncated(Reason::NoHeap),
            State::Ended => Verdict::Complete,
            State::Record if self.cut.is_empty() => truncated(Reason::NoEnd),
            State::SubRecord if self.cut.is_empty() => match self.heap {
                Some(heap) if heap.open => self.ends_where_it_says(heap),
                _ => truncated(Reason::CutInRecord),
            },
            State::Record
            | State::Collect { .. }
            | State::Skip { .. }
            | State::SubRecord
            | State::Class { .. } => truncated(Reason::CutInRecord),
        }
    }

    /// A `1.0.1` dump ends with its only heap record, whose length may have overflowed where one array took it beyond
    /// 4 GiB (JDK-8144732): then what is missing is a multiple of 4 GiB.
    fn ends_where_it_says(&self, heap: Heap) -> Verdict {
        let reason = match self
            .fed
            .saturating_sub(heap.start)
            .checked_sub(u64::from(heap.length))
        {
            None => Reason::CutInRecord,
            Some(surplus) if surplus % (1 << 32) == 0 => return Verdict::Complete,
            Some(_) => Reason::LengthMismatch,
        };
        Verdict::Truncated {
            offset: self.at,
            reason,
        }
    }

    fn file_header(&mut self, block: &mut &[u8]) -> Step {
        let bytes = self
            .cut
            .peek(block, header::LENGTH)
            .and_then(<[u8]>::first_chunk)
            .ok_or(Stop::Wait)?;
        let header = Header::parse(bytes).map_err(|why| Stop::Fail(Verdict::NotHprof(why)))?;
        self.cut.take(block, header::LENGTH);
        self.header = Some(header);
        self.at = header::LENGTH as u64;
        Ok(State::Record)
    }

    fn record(&mut self, block: &mut &[u8]) -> Step {
        let mut head = Fields::new(
            self.cut.peek(block, RECORD_HEADER).ok_or(Stop::Wait)?,
            IdSize::Eight,
        );
        let (tag, _ticks, length) = (head.u1(), head.u4(), head.u4());
        match tag {
            record::END if length == 0 => {
                self.cut.take(block, RECORD_HEADER);
                self.at = self.position(block);
                Ok(State::Ended)
            }
            record::END => Err(self.damage(Reason::EndNotEmpty)),
            // Nothing but a length that was not filled in yet is 0.
            record::HEAP | record::SEGMENT if length == 0 => Err(self.damage(Reason::LengthNotFilledIn)),
            record::HEAP | record::SEGMENT => {
                self.cut.take(block, RECORD_HEADER);
                Ok(self.heap_record(tag, length, self.position(block)))
            }
            _ if !record::is_skipped(tag) => Err(self.damage(Reason::UnknownRecord(tag))),
            _ => {
                self.cut.take(block, RECORD_HEADER);
                let left = u64::from(length);
                if !self.sink.wants(tag, length) {
                    return Ok(State::Skip {
                        left,
                        then: Then::Record,
                    });
                }
                self.body.clear();
                Ok(State::Collect { tag, left })
            }
        }
    }

    fn heap_record(&mut self, tag: u8, length: u32, start: u64) -> State {
        let version = self.header.map(|header| header.version);
        let open = tag == record::HEAP && version == Some(Version::V101);
        let left = if open { u64::MAX } else { u64::from(length) };
        self.heap = Some(Heap {
            start,
            length,
            left,
            open,
        });
        match version {
            Some(Version::V101 | Version::V102) => {
                self.at = start;
                State::SubRecord
            }
            // A later version may hold what is not known here: that must not look like damage.
            Some(Version::Newer(_)) | None => State::Skip {
                left,
                then: Then::Record,
            },
        }
    }

    fn collect(&mut self, block: &mut &[u8], tag: u8, left: u64) -> Step {
        let (taken, left) = advance(block, left);
        self.body.extend_from_slice(taken);
        if left > 0 {
            self.state = State::Collect { tag, left };
            return Err(Stop::Wait);
        }
        self.sink.record(tag, Fields::new(&self.body, self.id_size()));
        self.at = self.position(block);
        Ok(State::Record)
    }

    #[inline]
    fn skip(&mut self, block: &mut &[u8], left: u64, then: Then) -> Step {
        let (_, left) = advance(block, left);
        if left > 0 {
            self.state = State::Skip { left, then };
            return Err(Stop::Wait);
        }
        self.at = self.position(block);
        Ok(match then {
            Then::Record => State::Record,
            Then::SubRecord => State::SubRecord,
        })
    }

    #[inline]
    fn sub_record(&mut self, block: &mut &[u8]) -> Step {
        let left = self.heap.map_or(0, |heap| heap.left);
        if left == 0 {
            return Ok(State::Record);
        }
        let id_size = self.id_size();
        let tag = self
            .cut
            .peek(block, 1)
            .and_then(<[u8]>::first)
            .copied()
            .ok_or(Stop::Wait)?;
        let Some(head) = layout::head(tag, id_size) else {
            return Err(self.damage(Reason::UnknownSubRecord(tag)));
        };
        if left < head as u64 {
            return Err(self.damage(Reason::PassesSegment));
        }
        let bytes = self.cut.peek(block, head).ok_or(Stop::Wait)?;
        let mut fields = Fields::new(bytes, id_size);
        let (_tag, id, _stack) = (fields.u1(), fields.id(), fields.u4());
        let mut class = None;
        let body = match tag {
            sub::INSTANCE => {
                let (class, length) = (fields.id(), fields.u4());
                self.sink.instance(id, class);
                u64::from(length)
            }
            sub::OBJECT_ARRAY => {
                let (elements, class) = (fields.u4(), fields.id());
                self.sink.object_array(id, class, elements);
                u64::from(elements) * id_size.bytes() as u64
            }
            sub::PRIMITIVE_ARRAY => {
                let (elements, kind) = (fields.u4(), fields.u1());
                let Some(kind) = Kind::from_tag(kind).filter(|kind| *kind != Kind::Object) else {
                    return Err(self.damage(Reason::UnknownType(kind)));
                };
                self.sink.primitive_array(id, kind, elements);
                u64::from(elements) * kind.size(id_size) as u64
            }
            sub::CLASS => {
                self.sink.class(id, fields.id());
                class = bytes.last_chunk().map(|constants| u16::from_be_bytes(*constants));
                0
            }
            _ => 0,
        };
        self.cut.take(block, head);
        self.spend(head as u64 + body)?;
        match class {
            Some(items) => Ok(State::Class {
                part: Part::Constants,
                items,
            }),
            None => self.skip(block, body, Then::SubRecord),
        }
    }

    /// One item of one of a class's lists, or the number of items of the next list.
    fn class(&mut self, block: &mut &[u8], part: Part, items: u16) -> Step {
        let id_size = self.id_size();
        let next = match part {
            _ if items > 0 => part,
            Part::Constants => Part::Statics,
            Part::Statics => Part::Fields,
            Part::Fields => {
                self.at = self.position(block);
                return Ok(State::SubRecord);
            }
        };
        if items == 0 {
            let items = Fields::new(self.cut.peek(block, 2).ok_or(Stop::Wait)?, id_size).u2();
            self.cut.take(block, 2);
            self.spend(2)?;
            return Ok(State::Class { part: next, items });
        }
        let head = match part {
            Part::Constants => 3,
            Part::Statics | Part::Fields => id_size.bytes() + 1,
        };
        let tag = self
            .cut
            .peek(block, head)
            .and_then(<[u8]>::last)
            .copied()
            .ok_or(Stop::Wait)?;
        let Some(kind) = Kind::from_tag(tag) else {
            return Err(self.damage(Reason::UnknownType(tag)));
        };
        let whole = match part {
            Part::Constants | Part::Statics => head + kind.size(id_size),
            Part::Fields => {
                self.sink.field(kind);
                head
            }
        };
        self.cut.peek(block, whole).ok_or(Stop::Wait)?;
        self.cut.take(block, whole);
        self.spend(whole as u64)?;
        Ok(State::Class {
            part,
            items: items - 1,
        })
    }

    /// Counts bytes of the heap record, which must hold them.
    #[inline]
    fn spend(&mut self, bytes: u64) -> Result<(), Stop> {
        match &mut self.heap {
            Some(heap) if heap.left >= bytes => {
                heap.left -= bytes;
                Ok(())
            }
            _ => Err(self.damage(Reason::PassesSegment)),
        }
    }

    /// Where the next byte of the block stands in the dump.
    #[inline]
    fn position(&self, block: &[u8]) -> u64 {
        self.fed.saturating_sub(block.len() as u64)
    }

    #[inline]
    fn id_size(&self) -> IdSize {
        self.header.map_or(IdSize::Eight, |header| header.id_size)
    }

    fn damage(&self, reason: Reason) -> Stop {
        Stop::Fail(Verdict::Truncated {
            offset: self.at,
            reason,
        })
    }
}

/// Takes up to `left` bytes off the block: those, and how many are then still to come.
#[inline]
fn advance<'a>(block: &mut &'a [u8], left: u64) -> (&'a [u8], u64) {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
    let (taken, rest) = block.split_at(here);
    *block = rest;
    (taken, left - here as u64)
}
