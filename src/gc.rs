//! What a garbage-collected heap looks like at one moment, in the columns of the JDK's `jstat`.
//!
//! In: the counters of a JVM, or the text of `GC.heap_info` where it publishes none. Out: figures by the column's name, and
//! rows of text. A column that nothing tells is left out and shows as `-`.

use std::collections::BTreeMap;

use crate::hsperfdata::Counters;

/// Figures by column: sizes in KiB, times in seconds, counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(BTreeMap<&'static str, f64>);

/// Which columns are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Table {
    /// `jstat -gc`: sizes.
    Gc,
    /// `jstat -gcutil`: how full the spaces are, in per cent.
    GcUtil,
}

/// What a column's number is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unit {
    Kibibytes,
    Percent,
    Count,
    Seconds,
}

/// Columns that are counters themselves, as `jstat_options` of JDK 8 to 25 names them. Those of collector 2 are there since 11.
const COUNTERS: [(&str, &str, Unit); 18] = [
    ("S0C", "sun.gc.generation.0.space.1.capacity", Unit::Kibibytes),
    ("S1C", "sun.gc.generation.0.space.2.capacity", Unit::Kibibytes),
    ("S0U", "sun.gc.generation.0.space.1.used", Unit::Kibibytes),
    ("S1U", "sun.gc.generation.0.space.2.used", Unit::Kibibytes),
    ("EC", "sun.gc.generation.0.space.0.capacity", Unit::Kibibytes),
    ("EU", "sun.gc.generation.0.space.0.used", Unit::Kibibytes),
    ("OC", "sun.gc.generation.1.space.0.capacity", Unit::Kibibytes),
    ("OU", "sun.gc.generation.1.space.0.used", Unit::Kibibytes),
    ("MC", "sun.gc.metaspace.capacity", Unit::Kibibytes),
    ("MU", "sun.gc.metaspace.used", Unit::Kibibytes),
    ("CCSC", "sun.gc.compressedclassspace.capacity", Unit::Kibibytes),
    ("CCSU", "sun.gc.compressedclassspace.used", Unit::Kibibytes),
    ("YGC", "sun.gc.collector.0.invocations", Unit::Count),
    ("YGCT", "sun.gc.collector.0.time", Unit::Seconds),
    ("FGC", "sun.gc.collector.1.invocations", Unit::Count),
    ("FGCT", "sun.gc.collector.1.time", Unit::Seconds),
    ("CGC", "sun.gc.collector.2.invocations", Unit::Count),
    ("CGCT", "sun.gc.collector.2.time", Unit::Seconds),
];

/// Per cent of a space: its column, then used and capacity.
const SPACES: [(&str, &str, &str); 6] = [
    ("S0", "S0U", "S0C"),
    ("S1", "S1U", "S1C"),
    ("E", "EU", "EC"),
    ("O", "OU", "OC"),
    ("M", "MU", "MC"),
    ("CCS", "CCSU", "CCSC"),
];

impl Figures {
    /// Of a JVM that publishes counters.
    #[must_use]
    pub fn of(counters: &Counters) -> Self {
        let frequency = counters.number(FREQUENCY).filter(|&frequency| frequency > 0);
        let figures = COUNTERS.into_iter().filter_map(|(column, counter, unit)| {
            let number = as_float(counters.number(counter)?);
            let figure = match unit {
                Unit::Kibibytes => number / 1024.0,
                Unit::Seconds => number / as_float(frequency?),
                Unit::Count | Unit::Percent => number,
            };
            Some((column, figure))
        });
        let mut figures = Self(figures.collect());
        let times = ["YGCT", "FGCT", "CGCT"].map(|column| figures.get(column));
        if times.iter().any(Option::is_some) {
            figures.0.insert("GCT", times.into_iter().flatten().sum());
        }
        figures
    }

    /// Of the answer to `GC.heap_info`, which knows spaces and no collections. Serial, Parallel, G1, ZGC and Shenandoah of 8
    /// to 25 were looked at.
    #[must_use]
    pub fn of_heap_info(text: &str) -> Self {
        let mut figures = Self::default();
        for line in text.lines() {
            figures.take_line(line);
        }
        figures
    }

    fn take_line(&mut self, line: &str) {
        let words: Vec<&str> = line
            .split([' ', ',', '(', ')'])
            .filter(|word| !word.is_empty())
            .collect();
        let after = |key: &str| {
            words
                .windows(2)
                .find_map(|pair| (pair.first()? == &key).then(|| kibibytes(pair.get(1)?))?)
        };
        let before = |key: &str| {
            words
                .windows(2)
                .find_map(|pair| (pair.get(1)? == &key).then(|| kibibytes(pair.first()?))?)
        };
        let mut set = |column, figure: Option<f64>| {
            if let Some(figure) = figure {
                self.0.insert(column, figure);
            }
        };
        match words.as_slice() {
            [
                space @ ("eden" | "from" | "to" | "the" | "object"),
                "space",
                capacity,
                ..,
            ] => {
                let (capacity_column, used_column) = match *space {
                    "eden" => ("EC", "EU"),
                    "from" => ("S0C", "S0U"),
                    "to" => ("S1C", "S1U"),
                    _ => ("OC", "OU"),
                };
                set(capacity_column, kibibytes(capacity));
                set(used_column, between_addresses(line));
            }
            // Its young part stands on the next line.
            ["garbage-first", "heap", ..] => set("OU", after("used")),
            ["region", "size", ..] => {
                let part = |key: &str| {
                    words
                        .windows(2)
                        .find_map(|pair| (pair.first()? == &key).then(|| kibibytes(pair.get(1)?))?)
                };
                if let (Some(young), Some(survivors)) = (part("young"), part("survivors")) {
                    set("EU", Some(young - survivors));
                    set("S0C", Some(0.0));
                    set("S0U", Some(0.0));
                    set("S1C", Some(survivors));
                    set("S1U", Some(survivors));
                    if let Some(used) = self.0.get_mut("OU") {
                        *used = (*used - young).max(0.0);
                    }
                }
            }
            ["ZHeap", ..] => {
                set("OC", after("capacity"));
                set("OU", after("used"));
            }
            [_, "max", .., "used"] => {
                set("OC", before("committed"));
                set("OU", before("used"));
            }
            ["Metaspace", "used", ..] => {
                set("MC", after("committed"));
                set("MU", after("used"));
            }
            ["class", "space", "used", ..] => {
                set("CCSC", after("committed"));
                set("CCSU", after("used"));
            }
            _ => {}
        }
    }

    /// One figure. Per cent of a space where its size and use are known; of one without size it is 0.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<f64> {
        let Some((_, used, capacity)) = SPACES.iter().find(|(space, ..)| *space == column) else {
            return self.0.get(column).copied();
        };
        let (used, capacity) = (self.0.get(used)?, self.0.get(capacity)?);
        Some(if *capacity > 0.0 {
            used / capacity * 100.0
        } else {
            0.0
        })
    }

    /// A row of a table, without its end.
    #[must_use]
    pub fn row(&self, table: Table) -> String {
        let cell = |(column, unit): (&str, Unit)| {
            let (width, decimals) = form(unit);
            match self.get(column) {
                Some(figure) => format!("{figure:>width$.decimals$}"),
                None => format!("{:>width$}", "-"),
            }
        };
        table.columns().map(cell).collect::<Vec<_>>().join(" ")
    }
}

impl Table {
    /// The line above the rows.
    #[must_use]
    pub fn header(self) -> String {
        let cell = |(column, unit): (&str, Unit)| format!("{column:>width$}", width = form(unit).0);
        self.columns().map(cell).collect::<Vec<_>>().join(" ")
    }

    /// Names of the columns, in order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.columns().map(|(name, _)| name)
    }

    fn columns(self) -> impl Iterator<Item = (&'static str, Unit)> {
        let shown = move |unit: Unit| self == Self::Gc || unit != Unit::Kibibytes;
        let spaces = SPACES.into_iter().map(|(space, ..)| (space, Unit::Percent));
        let counters = COUNTERS.into_iter().map(|(column, _, unit)| (column, unit));
        spaces
            .filter(move |_| self == Self::GcUtil)
            .chain(counters.filter(move |(_, unit)| shown(*unit)))
            .chain([("GCT", Unit::Seconds)])
    }
}

/// Width and decimals. Heaps of a terabyte still stand in their columns.
fn form(unit: Unit) -> (usize, usize) {
    match unit {
        Unit::Kibibytes => (12, 1),
        Unit::Percent => (6, 2),
        Unit::Count => (6, 0),
        Unit::Seconds => (9, 3),
    }
}

/// `65536K`, `16M`; the units that HotSpot prints.
fn kibibytes(word: &str) -> Option<f64> {
    let end = word.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = word.split_at_checked(end)?;
    let factor = match unit {
        "B" => 1.0 / 1024.0,
        "K" => 1.0,
        "M" => 1024.0,
        "G" => 1024.0 * 1024.0,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

/// `[bottom, top, …)`: the use of a space to the byte, where its own text has a rounded percentage.
fn between_addresses(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once('[')?;
    let mut addresses = rest
        .split([',', ')'])
        .map(|word| u64::from_str_radix(word.trim().strip_prefix("0x")?, 16).ok());
    let (bottom, top) = (addresses.next()??, addresses.next()??);
    let bytes = i64::try_from(top.checked_sub(bottom)?).ok()?;
    Some(as_float(bytes) / 1024.0)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "shown with three decimals at most; exact up to eight petabytes"
)]
fn as_float(number: i64) -> f64 {
    number as f64
}

/// Ticks in a second.
const FREQUENCY: &str = "sun.os.hrt.frequency";

/// Seconds since the JVM's start, by its own clock.
#[must_use]
pub fn timestamp(counters: &Counters) -> Option<f64> {
    let frequency = counters.number(FREQUENCY).filter(|&frequency| frequency > 0)?;
    Some(as_float(counters.number("sun.os.hrt.ticks")?) / as_float(frequency))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn figures(text: &str) -> Vec<(&'static str, f64)> {
        Figures::of_heap_info(text).0.into_iter().collect()
    }

    #[test]
    fn the_columns_are_those_of_the_jdk() {
        let names = |table: Table| table.names().collect::<Vec<_>>().join(" ");
        assert_eq!(
            names(Table::Gc),
            "S0C S1C S0U S1U EC EU OC OU MC MU CCSC CCSU YGC YGCT FGC FGCT CGC CGCT GCT"
        );
        assert_eq!(
            names(Table::GcUtil),
            "S0 S1 E O M CCS YGC YGCT FGC FGCT CGC CGCT GCT"
        );
    }

    #[test]
    fn what_nothing_tells_is_a_dash() {
        let row = Figures::default().row(Table::Gc);
        assert!(row.split_whitespace().all(|cell| cell == "-"), "{row}");
        assert_eq!(row.len(), Table::Gc.header().len());
    }

    #[test]
    fn a_space_without_a_size_is_empty() {
        let figures = Figures([("S0U", 0.0), ("S0C", 0.0), ("OU", 50.0), ("OC", 200.0)].into());
        assert_eq!((figures.get("S0"), figures.get("O")), (Some(0.0), Some(25.0)));
        assert_eq!(figures.get("E"), None);
    }

    #[test]
    fn serial_tells_its_spaces_before_and_after_24() {
        let of_17 = "\
 def new generation   total 19648K, used 7387K [0x00000000fc000000, 0x00000000fd550000, 0x00000000fd550000)
  eden space 17472K,  42% used [0x00000000fc000000, 0x00000000fc736e00, 0x00000000fd110000)
  from space 2176K,   0% used [0x00000000fd110000, 0x00000000fd110000, 0x00000000fd330000)
  to   space 2176K,   0% used [0x00000000fd330000, 0x00000000fd330000, 0x00000000fd550000)
 tenured generation   total 43712K, used 0K [0x00000000fd550000, 0x0000000100000000, 0x0000000100000000)
   the space 43712K,   0% used [0x00000000fd550000, 0x00000000fd550000, 0x00000000fd550200, 0x0000000100000000)
 Metaspace       used 139K, committed 384K, reserved 1114112K
  class space    used 4K, committed 128K, reserved 1048576K
";
        assert_eq!(
            figures(of_17),
            [
                ("CCSC", 128.0),
                ("CCSU", 4.0),
                ("EC", 17472.0),
                ("EU", 7387.5),
                ("MC", 384.0),
                ("MU", 139.0),
                ("OC", 43712.0),
                ("OU", 0.0),
                ("S0C", 2176.0),
                ("S0U", 0.0),
                ("S1C", 2176.0),
                ("S1U", 0.0),
            ]
        );
        let of_25 =
            "Tenured    total 43712K, used 1166K [0x00000000fd550000, 0x0000000100000000, 0x0000000100000000)
 the  space 43712K,   2% used [0x00000000fd550000, 0x00000000fd673c00, 0x0000000100000000)";
        assert_eq!(figures(of_25), [("OC", 43712.0), ("OU", 1167.0)]);
    }

    #[test]
    fn g1_tells_its_young_part_and_how_much_is_old() {
        let of_25 = "garbage-first heap   total reserved 65536K, committed 65536K, used 13454K [0x00000000fc000000, 0x0000000100000000)
 region size 1024K, 3 young (3072K), 1 survivors (1024K)";
        let expected = [
            ("EU", 2048.0),
            ("OU", 10382.0),
            ("S0C", 0.0),
            ("S0U", 0.0),
            ("S1C", 1024.0),
            ("S1U", 1024.0),
        ];
        assert_eq!(figures(of_25), expected);
        assert_eq!(
            figures(&of_25.replace("reserved 65536K, committed 65536K", "65536K")),
            expected
        );
    }

    #[test]
    fn z_and_shenandoah_have_one_space() {
        for text in [
            " ZHeap           used 16M, capacity 64M, max capacity 64M",
            "Shenandoah Heap\n 65536K max, 65536K soft max, 65536K committed, 16384K used\n 256 x 256K regions",
        ] {
            assert_eq!(figures(text), [("OC", 65536.0), ("OU", 16384.0)], "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([ a-zA-Z0-9(),%\\[\n-]|used |space |young |0x){0,80}") {
            let figures = Figures::of_heap_info(&text);
            prop_assert_eq!(figures.row(Table::GcUtil).split_whitespace().count(), 13);
        }
    }
}
