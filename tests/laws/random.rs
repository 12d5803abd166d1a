//! The one source of chance: a seed and a pod's number give the same pod on every machine.

use serde_json::Value;

/// `SplitMix64`: small, fast, and good enough to draw from lists.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut random = Self(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }

    pub(crate) fn pick<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(list.len())]
    }

    /// A few of a list, in its order.
    pub(crate) fn some<'t, T>(&mut self, list: &'t [T], chance: usize) -> Vec<&'t T> {
        list.iter().filter(|_| self.percent(chance)).collect()
    }

    /// Text that means nothing to anybody.
    pub(crate) fn garbage(&mut self) -> String {
        const CHARACTERS: [&str; 24] = [
            "a",
            "Z",
            "0",
            "9",
            " ",
            "-",
            "_",
            ",",
            ":",
            "/",
            ".",
            "*",
            "$",
            "(",
            ")",
            "{",
            "}",
            "'",
            "\"",
            "\\",
            "\n",
            "ä",
            "\u{1F600}",
            "=",
        ];
        (0..self.below(12)).map(|_| *self.pick(&CHARACTERS)).collect()
    }
}

/// A number that is the same for the same text: what a source holds must not depend on who asks first.
pub(crate) fn hash(salt: u64, text: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ salt;
    let mixed = text.bytes().fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Random::new(mixed, 1).next()
}

/// Sets a member in a percentage of cases.
pub(crate) fn maybe(
    random: &mut Random,
    chance: usize,
    object: &mut Value,
    key: &str,
    value: impl FnOnce(&mut Random) -> Value,
) {
    if random.percent(chance) {
        object[key] = value(random);
    }
}
