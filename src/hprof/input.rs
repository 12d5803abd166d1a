use super::layout::LONGEST_HEAD;

/// What is left of a block, and in front of it the beginning of an item that the block before cut in two.
#[derive(Debug)]
pub(super) struct Cut {
    bytes: [u8; LONGEST_HEAD],
    len: usize,
}

impl Default for Cut {
    fn default() -> Self {
        Self {
            bytes: [0; LONGEST_HEAD],
            len: 0,
        }
    }
}

impl Cut {
    /// The next `need` bytes, at most [`LONGEST_HEAD`], without taking them; `None` keeps what there is until the next
    /// block. A second call may ask for more.
    #[inline]
    pub(super) fn peek<'a>(&'a mut self, block: &'a mut &[u8], need: usize) -> Option<&'a [u8]> {
        if self.len == 0
            && let Some(item) = block.get(..need)
        {
            return Some(item);
        }
        self.complete(block, need)
    }

    fn complete(&mut self, block: &mut &[u8], need: usize) -> Option<&[u8]> {
        if let Some(missing) = self.bytes.get_mut(self.len..need) {
            let (taken, rest) = block.split_at(missing.len().min(block.len()));
            for (to, from) in missing.iter_mut().zip(taken) {
                *to = *from;
            }
            self.len += taken.len();
            *block = rest;
        }
        if self.len < need {
            None
        } else {
            self.bytes.get(..need)
        }
    }

    /// Takes what was peeked at last.
    #[inline]
    pub(super) fn take(&mut self, block: &mut &[u8], need: usize) {
        if self.len == 0 {
            *block = block.get(need..).unwrap_or_default();
        } else {
            self.len = 0;
        }
    }

    /// Whether the last block ended between two items.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}
