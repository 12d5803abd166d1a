use super::{header::IdSize, layout::Kind};

/// How large objects are in a heap, which a dump does not say: the arithmetic of Eclipse MAT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    /// Bytes of an address.
    pub(super) id: u64,
    /// Bytes of a reference, smaller than an address where references are compressed.
    pub(super) reference: u64,
}

/// The fields that a class adds to those of its superclass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own {
    references: u64,
    /// Bytes of all others.
    primitives: u64,
}

impl Own {
    pub(super) fn add(&mut self, kind: Kind) {
        match kind {
            Kind::Object => self.references += 1,
            primitive => self.primitives += primitive.size(IdSize::Eight) as u64,
        }
    }
}

impl Model {
    /// A 64-bit JVM with less than 32 GB of heap.
    pub(super) const COMPRESSED: Self = Self { id: 8, reference: 4 };
    /// A 64-bit JVM with more, or ZGC.
    pub(super) const UNCOMPRESSED: Self = Self { id: 8, reference: 8 };

    /// An object whose classes add these fields, `java.lang.Object` first.
    pub(super) fn instance<'a>(&self, classes: impl Iterator<Item = &'a Own>) -> u64 {
        let size = classes.fold(self.id + self.reference, |size, own| {
            align(
                size + own.references * self.reference + own.primitives,
                self.reference,
            )
        });
        align(size, ALIGNMENT)
    }

    pub(super) fn object_array(&self, elements: u64) -> u64 {
        align(self.array_header() + elements * self.reference, ALIGNMENT)
    }

    pub(super) fn primitive_array(&self, kind: Kind, elements: u64) -> u64 {
        let header = align(self.array_header(), self.reference);
        align(header + elements * kind.size(IdSize::Eight) as u64, ALIGNMENT)
    }

    fn array_header(&self) -> u64 {
        self.id + self.reference + 4
    }
}

/// Of every object, unless `-XX:ObjectAlignmentInBytes` says otherwise.
const ALIGNMENT: u64 = 8;

fn align(size: u64, to: u64) -> u64 {
    size.next_multiple_of(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(kinds: &[Kind]) -> Own {
        let mut own = Own::default();
        for kind in kinds {
            own.add(*kind);
        }
        own
    }

    /// As `jcmd GC.class_histogram` of JDK 17 prints them.
    #[test]
    fn objects_are_as_large_as_the_jvm_says() {
        let object = own(&[]);
        let integer = own(&[Kind::Int]);
        let string = own(&[Kind::Object, Kind::Int, Kind::Byte, Kind::Boolean]);
        let model = Model::COMPRESSED;
        assert_eq!(model.instance([object].iter()), 16);
        assert_eq!(model.instance([object, own(&[]), integer].iter()), 16);
        assert_eq!(model.instance([object, string].iter()), 24);
        assert_eq!(Model::UNCOMPRESSED.instance([object, string].iter()), 32);
        assert_eq!(model.primitive_array(Kind::Byte, 1), 24);
        assert_eq!(model.primitive_array(Kind::Long, 2), 32);
        assert_eq!(model.object_array(3), 32);
        assert_eq!(Model::UNCOMPRESSED.object_array(3), 48);
    }
}
