//! What kernel and user space both see of lists: what they say about a source, and the keys that it is
//! found by.

/// What all lists together say about a source: the value of LISTS, found by the longest prefix. User
/// space works out what shorter prefixes say too, so that one look-up answers.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u32);

/// What a list does to a source that it names.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sentence {
    /// Counted only: a deny list in dry run.
    Observe = 1,
    Deny = 2,
    Allow = 3,
}

impl Mark {
    /// No list names the source.
    pub const NONE: Self = Self(0);

    /// `cell` counts for the list that decides.
    pub const fn of(sentence: Sentence, cell: u8) -> Self {
        Self(sentence as u32 | (cell as u32) << 8)
    }

    #[inline(always)]
    pub const fn sentence(self) -> Option<Sentence> {
        match self.0 & 3 {
            1 => Some(Sentence::Observe),
            2 => Some(Sentence::Deny),
            3 => Some(Sentence::Allow),
            _ => None,
        }
    }

    /// The cell of LISTED and NAMES; 0 for none.
    #[inline(always)]
    pub const fn cell(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// No sentence, but another row of limits than the first.
    pub const fn limits(row: u8) -> Self {
        Self((row as u32) << Self::ROW_SHIFT)
    }

    /// The row of limits that the source has; 0 for everybody's.
    #[inline(always)]
    pub const fn row(self) -> u8 {
        (self.0 >> Self::ROW_SHIFT) as u8
    }

    /// This and what a shorter prefix says: the stronger sentence, and of two that are equal this one; the
    /// limits of the longer that has any.
    pub const fn under(self, shorter: Self) -> Self {
        let sentence = if shorter.0 & 3 > self.0 & 3 { shorter } else { self };
        let limits = if self.row() == 0 { shorter } else { self };
        Self(sentence.0 & Self::SENTENCE | limits.0 & !Self::SENTENCE)
    }

    const ROW_SHIFT: u32 = 16;
    /// The sentence and the cell that counts it.
    const SENTENCE: u32 = (1 << Self::ROW_SHIFT) - 1;
}

/// Keys of LISTS: the generation in front of the address, so that one trie holds both.
pub const GENERATION_BITS: u32 = 32;

/// Key of LISTS4.
pub const fn list_key4(generation: u64, address: [u8; 4]) -> [u8; 8] {
    let [a, b, c, d] = address;
    [0, 0, 0, generation as u8 & 1, a, b, c, d]
}

/// Key of LISTS6, in words as they lie in memory.
pub const fn list_key6(generation: u64, address: [u8; 16]) -> [u32; 5] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
    [
        u32::from_ne_bytes([0, 0, 0, generation as u8 & 1]),
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}

/// Key of ADDED: a prefix that an operator added to a list.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddedKey {
    /// The address; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// 4 or 6.
    pub family: u8,
    pub length: u8,
    /// [`Sentence`] as its number.
    pub sentence: u8,
    /// 0: added by itself; 1: loaded as part of a list.
    pub origin: u8,
}
