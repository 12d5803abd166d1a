use std::collections::HashMap;

/// The names in a dump, by their ids, one after the other in one piece of memory: there are some 46000 of them in a JVM
/// that does nothing.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    text: Vec<u8>,
    places: HashMap<u64, Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    length: u32,
}

impl Symbols {
    /// Beyond [`LIMIT`] names are left out.
    pub(super) fn insert(&mut self, id: u64, text: &[u8]) {
        let (Ok(start), Ok(length)) = (u32::try_from(self.text.len()), u32::try_from(text.len())) else {
            return;
        };
        if self.text.len() + text.len() > LIMIT || self.places.len() >= LIMIT / SHORTEST {
            return;
        }
        self.text.extend_from_slice(text);
        self.places.insert(id, Place { start, length });
    }

    pub(super) fn find(&self, id: u64) -> Option<&[u8]> {
        let place = self.places.get(&id)?;
        let start = place.start as usize;
        self.text.get(start..start + place.length as usize)
    }
}

/// Bytes of all names: forty times those of a large application.
const LIMIT: usize = 64 << 20;

/// Bytes that a name has on average at least; shorter ones are counted as if they had so many.
const SHORTEST: usize = 16;
