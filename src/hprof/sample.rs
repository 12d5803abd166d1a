//! Dumps written byte by byte, for tests.

/// Writes a dump, record by record.
pub(super) struct Dump {
    bytes: Vec<u8>,
    id_size: usize,
}

impl Dump {
    pub(super) fn new() -> Self {
        Self::of("1.0.2", 8)
    }

    pub(super) fn of(version: &str, id_size: u8) -> Self {
        let mut bytes = format!("JAVA PROFILE {version}\0").into_bytes();
        bytes.extend([0, 0, 0, id_size]);
        bytes.extend(1_700_000_000_000_u64.to_be_bytes());
        Self {
            bytes,
            id_size: id_size.into(),
        }
    }

    pub(super) fn record(mut self, tag: u8, body: &[u8]) -> Self {
        self.bytes.push(tag);
        self.bytes.extend([0; 4]);
        self.bytes
            .extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        self.bytes.extend(body);
        self
    }

    pub(super) fn utf8(self, id: u64, text: &str) -> Self {
        let body = [&self.id(id)[..], text.as_bytes()].concat();
        self.record(0x01, &body)
    }

    pub(super) fn load_class(self, serial: u32, class: u64, name: u64) -> Self {
        let body = [
            &serial.to_be_bytes()[..],
            &self.id(class),
            &1_u32.to_be_bytes(),
            &self.id(name),
        ]
        .concat();
        self.record(0x02, &body)
    }

    pub(super) fn frame(
        self,
        id: u64,
        method: u64,
        signature: u64,
        file: u64,
        class: u32,
        line: i32,
    ) -> Self {
        let ids: Vec<u8> = [id, method, signature, file]
            .iter()
            .flat_map(|id| self.id(*id))
            .collect();
        let body = [&ids[..], &class.to_be_bytes(), &line.to_be_bytes()].concat();
        self.record(0x04, &body)
    }

    pub(super) fn trace(self, stack: u32, thread: u32, frames: &[u64]) -> Self {
        let count = u32::try_from(frames.len()).unwrap();
        let mut body: Vec<u8> = [stack, thread, count]
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect();
        body.extend(frames.iter().flat_map(|id| self.id(*id)));
        self.record(0x05, &body)
    }

    pub(super) fn segment(self, objects: impl FnOnce(Objects) -> Objects) -> Self {
        let objects = objects(Objects {
            bytes: Vec::new(),
            id_size: self.id_size,
        })
        .bytes;
        self.record(0x1c, &objects)
    }

    pub(super) fn end(self) -> Vec<u8> {
        self.record(0x2c, &[]).bytes
    }

    /// Without an end record.
    pub(super) fn cut(self) -> Vec<u8> {
        self.bytes
    }

    fn id(&self, id: u64) -> Vec<u8> {
        id.to_be_bytes()[8 - self.id_size..].to_vec()
    }
}

/// Writes what a heap record holds.
pub(super) struct Objects {
    bytes: Vec<u8>,
    id_size: usize,
}

impl Objects {
    /// A class with one static `int` and these types of own fields.
    pub(super) fn class(self, id: u64, superclass: u64, fields: &[u8]) -> Self {
        let mut this = self.tag(0x20).id(id).u4(1).id(superclass);
        for _ in 0..5 {
            this = this.id(0);
        }
        this = this.u4(16).raw(&[0, 0]).raw(&[0, 1]).id(7).raw(&[10]).u4(42);
        this = this.raw(&u16::try_from(fields.len()).unwrap().to_be_bytes());
        fields.iter().fold(this, |this, kind| this.id(7).raw(&[*kind]))
    }

    pub(super) fn instance(self, id: u64, class: u64, values: usize) -> Self {
        self.tag(0x21)
            .id(id)
            .u4(1)
            .id(class)
            .u4(u32::try_from(values).unwrap())
            .raw(&vec![0xaa; values])
    }

    pub(super) fn object_array(self, id: u64, class: u64, elements: usize) -> Self {
        let count = u32::try_from(elements).unwrap();
        let bytes = vec![0xbb; elements * self.id_size];
        self.tag(0x22).id(id).u4(1).u4(count).id(class).raw(&bytes)
    }

    pub(super) fn primitive_array(self, id: u64, kind: u8, elements: usize) -> Self {
        let size = [1, 2, 4, 8, 1, 2, 4, 8][usize::from(kind) - 4];
        let count = u32::try_from(elements).unwrap();
        self.tag(0x23)
            .id(id)
            .u4(1)
            .u4(count)
            .raw(&[kind])
            .raw(&vec![0xcc; elements * size])
    }

    /// One root of each kind.
    pub(super) fn roots(self) -> Self {
        let plain = [
            (0xff, 0),
            (0x05, 0),
            (0x07, 0),
            (0x02, 8),
            (0x03, 8),
            (0x08, 8),
            (0x04, 4),
            (0x06, 4),
        ];
        plain
            .iter()
            .fold(self, |this, (tag, more)| {
                this.tag(*tag).id(1).raw(&vec![0; *more])
            })
            .tag(0x01)
            .id(1)
            .id(2)
    }

    pub(super) fn tag(self, tag: u8) -> Self {
        self.raw(&[tag])
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    fn u4(self, number: u32) -> Self {
        self.raw(&number.to_be_bytes())
    }

    fn id(self, id: u64) -> Self {
        let bytes = id.to_be_bytes();
        let skipped = 8 - self.id_size;
        self.raw(&bytes[skipped..])
    }
}

/// A small dump with one of everything.
pub(super) fn one_of_everything(version: &str, id_size: u8) -> Vec<u8> {
    Dump::of(version, id_size)
        .utf8(1, "java/lang/Object")
        .utf8(2, "Leak$Node")
        .load_class(1, 0x100, 1)
        .load_class(2, 0x200, 2)
        .frame(1, 1, 1, 1, 1, -3)
        .trace(1, 0, &[])
        .trace(2, 1, &[1])
        .record(0x06, &[0; 12])
        .segment(|heap| heap.class(0x100, 0, &[]).class(0x200, 0x100, &[2, 11, 4]).roots())
        .segment(|heap| {
            heap.instance(0x1000, 0x200, 17)
                .object_array(0x2000, 0x300, 3)
                .instance(0x3000, 0x100, 0)
        })
        .segment(|heap| (4..=11).fold(heap, |heap, kind| heap.primitive_array(0x4000, kind, 5)))
        .segment(|heap| heap.primitive_array(0x5000, 8, 0).roots())
        .end()
}
