use std::{
    collections::{HashMap, hash_map::Entry},
    io::{self, Read},
};

use super::{
    class_name,
    examine::read,
    layout::{Fields, Kind, record},
    out_of_memory::{OutOfMemory, Stacks},
    parse::{Parser, Sink},
    sizes::{Model, Own},
    symbols::Symbols,
    verdict::{NotHprof, Reason, Verdict},
};
use crate::quantity::Bytes;

/// What lies in a heap, class by class, the biggest first.
///
/// A dump holds more than the heap had in use when a full collection would have been done: it counts garbage too, unless
/// it is a dump of live objects.
#[derive(Clone, Debug)]
pub struct Histogram {
    classes: Vec<Class>,
    verdict: Verdict,
    out_of_memory: Option<OutOfMemory>,
}

/// All objects of the classes of one name, whatever loader they are of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Class {
    /// As in Java source: `java.lang.String`, `byte[]`, `Leak$Node`. Hidden classes without their number.
    pub name: String,
    /// How many of them the dump holds.
    pub instances: u64,
    /// What they take in the heap, headers and alignment included, what they refer to not.
    ///
    /// A dump does not say this. It is what Eclipse MAT computes for the same dump; compact object headers (JDK 24 and
    /// later, off by default) make every object 4 bytes smaller than this.
    pub bytes: Bytes,
}

/// Why there is no histogram.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the heap dump")]
    Read(#[from] io::Error),
    /// The file is something else.
    #[error("not a heap dump: {0}; give a .hprof or .hprof.gz file")]
    NotHprof(NotHprof),
}

/// Counts the objects of a dump, plain or gzipped, in one pass and in memory for its classes and their names only.
///
/// A truncated dump gives what is in it up to there; [`Histogram::verdict`] says so.
///
/// # Errors
/// [`Error::Read`] where the reader fails, [`Error::NotHprof`] for what is no dump.
pub fn histogram(reader: impl Read) -> Result<Histogram, Error> {
    let mut parser = Parser::<Counts>::default();
    let source = read(reader, |block| parser.feed(block))?;
    let verdict = match parser.verdict() {
        Verdict::NotHprof(why) => return Err(Error::NotHprof(why)),
        Verdict::Complete if source.damaged => Verdict::Truncated {
            offset: parser.offset(),
            reason: Reason::Gzip,
        },
        verdict => verdict,
    };
    let id_size = parser.header().map_or(8, |header| header.id_size.bytes() as u64);
    let mut counts = parser.into_sink();
    let out_of_memory = counts.stacks.take();
    Ok(Histogram {
        classes: counts.classes(id_size),
        verdict,
        out_of_memory,
    })
}

impl Histogram {
    /// The `n` biggest classes, the biggest first.
    #[must_use]
    pub fn top(&self, n: usize) -> &[Class] {
        self.classes.get(..n).unwrap_or(&self.classes)
    }

    /// All classes that have instances, the biggest first.
    #[must_use]
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Objects of all classes.
    #[must_use]
    pub fn instances(&self) -> u64 {
        self.classes
            .iter()
            .map(|class| class.instances)
            .fold(0, u64::saturating_add)
    }

    /// Bytes of all classes.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        Bytes(
            self.classes
                .iter()
                .map(|class| class.bytes.0)
                .fold(0, u64::saturating_add),
        )
    }

    /// Whether the dump was whole.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The stack of the thread that ran out of memory, where that was the dump's cause.
    #[must_use]
    pub fn out_of_memory(&self) -> Option<&OutOfMemory> {
        self.out_of_memory.as_ref()
    }
}

/// What is counted while the dump goes by. How large a reference was is known only at its end, so arrays are summed up
/// for both sizes.
#[derive(Debug, Default)]
struct Counts {
    symbols: Symbols,
    stacks: Stacks,
    classes: HashMap<u64, Entity>,
    primitive_arrays: HashMap<Kind, Arrays>,
    /// Objects of classes beyond [`CLASSES`].
    others: Arrays,
    last_class: u64,
    last_array: Option<Span>,
    compressed: bool,
}

/// A class, as far as it is known, and what was counted of it.
#[derive(Debug, Default)]
struct Entity {
    name: Option<u64>,
    superclass: u64,
    own: Own,
    /// Its own record was met: in dumps up to JDK 18 an array class has several (JDK-8281267).
    dumped: bool,
    instances: u64,
    arrays: Arrays,
}

#[derive(Debug, Default)]
struct Arrays {
    count: u64,
    compressed: u64,
    uncompressed: u64,
}

/// Addresses that an array takes for certain where references have 8 bytes.
#[derive(Debug)]
struct Span {
    start: u64,
    end: u64,
}

impl Sink for Counts {
    fn wants(&self, tag: u8, length: u32) -> bool {
        match tag {
            record::UTF8 => length <= LONGEST_SYMBOL,
            record::LOAD_CLASS => length <= 24,
            record::FRAME | record::TRACE => Stacks::wants(length),
            _ => false,
        }
    }

    fn record(&mut self, tag: u8, mut body: Fields<'_>) {
        match tag {
            record::UTF8 => {
                let id = body.id();
                self.symbols.insert(id, body.rest());
            }
            record::LOAD_CLASS => {
                let (serial, class, _stack, name) = (body.u4(), body.id(), body.u4(), body.id());
                self.stacks.class(serial, name);
                if let Some(entity) = self.entity(class) {
                    entity.name = Some(name);
                }
            }
            record::FRAME => self.stacks.frame(body),
            record::TRACE => self.stacks.trace(body, &self.symbols),
            _ => {}
        }
    }

    fn class(&mut self, id: u64, superclass: u64) {
        self.last_class = id;
        if let Some(entity) = self.entity(id) {
            *entity = Entity {
                superclass,
                own: Own::default(),
                dumped: true,
                ..std::mem::take(entity)
            };
        }
    }

    fn field(&mut self, kind: Kind) {
        let last = self.last_class;
        if let Some(entity) = self.classes.get_mut(&last) {
            entity.own.add(kind);
        }
    }

    fn instance(&mut self, id: u64, class: u64) {
        self.object(id);
        match self.entity(class) {
            Some(entity) => entity.instances = entity.instances.saturating_add(1),
            None => self.others.count = self.others.count.saturating_add(1),
        }
    }

    fn object_array(&mut self, id: u64, class: u64, elements: u32) {
        self.object(id);
        let elements = u64::from(elements);
        self.last_array = Some(Span {
            start: id,
            end: id.saturating_add(16 + 8 * elements),
        });
        self.arrays_of(class).add(|model| model.object_array(elements));
    }

    fn primitive_array(&mut self, id: u64, kind: Kind, elements: u32) {
        self.object(id);
        let arrays = self.primitive_arrays.entry(kind).or_default();
        arrays.add(|model| model.primitive_array(kind, u64::from(elements)));
    }
}

impl Counts {
    /// Two objects cannot lie in each other: one that begins inside the array before it proves that the array is smaller
    /// than its references would be at 8 bytes each.
    fn object(&mut self, id: u64) {
        if let Some(array) = &self.last_array {
            self.compressed |= array.start < id && id < array.end;
        }
    }

    fn arrays_of(&mut self, class: u64) -> &mut Arrays {
        if self.classes.len() >= CLASSES && !self.classes.contains_key(&class) {
            return &mut self.others;
        }
        &mut self.classes.entry(class).or_default().arrays
    }

    fn entity(&mut self, class: u64) -> Option<&mut Entity> {
        let full = self.classes.len() >= CLASSES;
        match self.classes.entry(class) {
            Entry::Occupied(entity) => Some(entity.into_mut()),
            Entry::Vacant(_) if full => None,
            Entry::Vacant(place) => Some(place.insert(Entity::default())),
        }
    }

    fn classes(&self, id_size: u64) -> Vec<Class> {
        let model = match id_size {
            4 => Model { id: 4, reference: 4 },
            _ if self.compressed => Model::COMPRESSED,
            _ => Model::UNCOMPRESSED,
        };
        let mut named: HashMap<String, Class> = HashMap::new();
        let mut add = |name: String, instances: u64, bytes: u64| {
            if instances > 0 {
                let class = named.entry(name).or_insert_with_key(|name| Class {
                    name: name.clone(),
                    instances: 0,
                    bytes: Bytes(0),
                });
                class.instances = class.instances.saturating_add(instances);
                class.bytes = Bytes(class.bytes.0.saturating_add(bytes));
            }
        };
        let mirrors = self.classes.values().filter(|entity| entity.dumped).count() as u64;
        for (id, entity) in &self.classes {
            let symbol = entity.name.and_then(|name| self.symbols.find(name));
            let name = symbol.map_or_else(|| format!("unknown class 0x{id:x}"), class_name::pretty);
            let instances = match symbol {
                // Classes are objects too, but have no other record than their own.
                Some(b"java/lang/Class") => entity.instances.saturating_add(mirrors),
                _ => entity.instances,
            };
            let size = if instances == 0 {
                0
            } else {
                self.instance_size(entity, &model)
            };
            let bytes = size
                .saturating_mul(instances)
                .saturating_add(entity.arrays.bytes(&model));
            add(name, instances.saturating_add(entity.arrays.count), bytes);
        }
        for kind in Kind::PRIMITIVES {
            if let Some(arrays) = self.primitive_arrays.get(&kind) {
                add(format!("{}[]", kind.name()), arrays.count, arrays.bytes(&model));
            }
        }
        add(
            "classes left out".to_owned(),
            self.others.count,
            self.others.bytes(&model),
        );
        let mut classes: Vec<Class> = named.into_values().collect();
        classes.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        classes
    }

    fn instance_size(&self, class: &Entity, model: &Model) -> u64 {
        let superclass = |class: &&Entity| self.classes.get(&class.superclass);
        let chain = std::iter::successors(Some(class), superclass).take(DEEPEST);
        let own: Vec<Own> = chain.map(|class| class.own).collect();
        model.instance(own.iter().rev())
    }
}

impl Arrays {
    fn add(&mut self, size: impl Fn(&Model) -> u64) {
        self.count = self.count.saturating_add(1);
        self.compressed = self.compressed.saturating_add(size(&Model::COMPRESSED));
        self.uncompressed = self.uncompressed.saturating_add(size(&Model::UNCOMPRESSED));
    }

    fn bytes(&self, model: &Model) -> u64 {
        if model.reference == 4 {
            self.compressed
        } else {
            self.uncompressed
        }
    }
}

/// A JVM's symbol has at most 65535 bytes, and its id stands in front of it.
const LONGEST_SYMBOL: u32 = 65_535 + 8;

/// Ten times what the largest applications load. A bound for dumps that are none: about 150 MB.
const CLASSES: usize = 1 << 20;

/// No class has so many superclasses, but a damaged dump may have a circle of them.
const DEEPEST: usize = 1000;

#[cfg(test)]
mod tests;
