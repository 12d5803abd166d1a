//! Collections in `{}` and `[]` that change in place.

use serde_json::{Map, Value};

use super::{Edit, Editor};
use crate::yaml::align::{Step, align};
use crate::yaml::layout::line_head;
use crate::yaml::node::{Entry, Node};
use crate::yaml::write;

impl Editor<'_> {
    pub(super) fn flow_mapping(
        &mut self,
        node: &Node,
        entries: &[Entry],
        map: &Map<String, Value>,
    ) -> Option<()> {
        if map.is_empty() || entries.iter().any(|entry| entry.merged) {
            return None;
        }
        let places: Vec<Place> = entries
            .iter()
            .map(|entry| Place {
                start: entry.key_span.start,
                // Where nothing is written, the parser's place for it is before the colon.
                end: match self.colon(entry) {
                    Some(colon) if entry.node.span.is_empty() => colon + 1,
                    _ => entry.node.end(self.text),
                },
            })
            .collect();
        let mut kept = Vec::new();
        for (entry, place) in entries.iter().zip(&places) {
            let target = map.get(&entry.key);
            kept.push(target.is_some());
            if let Some(target) = target
                && self.node(&entry.node, target).is_none()
            {
                let text = write::flow_entry(&entry.key, target);
                self.edits.push(Edit {
                    range: place.start..place.end,
                    text,
                });
            }
        }
        self.remove_places(&places, &kept)?;
        let separator = self.separator(node, places.first()?.start);
        let end = places.last()?.end;
        for (key, value) in map {
            if !entries.iter().any(|entry| entry.key == *key) {
                let text = format!("{separator}{}", write::flow_entry(key, value));
                self.edits.push(Edit {
                    range: end..end,
                    text,
                });
            }
        }
        Some(())
    }

    pub(super) fn flow_sequence(&mut self, node: &Node, items: &[Node], list: &[Value]) -> Option<()> {
        if list.is_empty() {
            return None;
        }
        let places: Vec<Place> = items
            .iter()
            .map(|item| Place {
                start: item.span.start,
                end: item.end(self.text),
            })
            .collect();
        let separator = self.separator(node, places.first()?.start);
        let old: Vec<Value> = items.iter().map(Node::value).collect();
        let mut kept = vec![false; items.len()];
        let mut previous: Option<usize> = None;
        for step in align(&old, list)? {
            match step {
                Step::Keep { old, new } => {
                    let (item, target) = (items.get(old)?, list.get(new)?);
                    if self.node(item, target).is_none() {
                        let range = item.span.start..item.end(self.text);
                        self.edits.push(Edit {
                            range,
                            text: write::flow(target),
                        });
                    }
                    *kept.get_mut(old)? = true;
                    previous = Some(item.end(self.text));
                }
                Step::Remove { .. } => {}
                Step::Insert { new } => {
                    let value = write::flow(list.get(new)?);
                    let (at, text) = match previous {
                        Some(end) => (end, format!("{separator}{value}")),
                        None => (places.first()?.start, format!("{value}{separator}")),
                    };
                    self.edits.push(Edit { range: at..at, text });
                }
            }
        }
        self.remove_places(&places, &kept)
    }

    /// Removes what is not kept, with the comma before it, or after it at the front.
    fn remove_places(&mut self, places: &[Place], kept: &[bool]) -> Option<()> {
        let first = kept.iter().position(|kept| *kept)?;
        if first > 0 {
            let range = places.first()?.start..places.get(first)?.start;
            self.edits.push(Edit {
                range,
                text: String::new(),
            });
        }
        for (pair, kept) in places.windows(2).zip(kept.iter().skip(1)).skip(first) {
            if let ([before, gone], false) = (pair, kept) {
                self.edits.push(Edit {
                    range: before.end..gone.end,
                    text: String::new(),
                });
            }
        }
        Some(())
    }

    /// What stands between two items: on a line of its own each where the first one is.
    fn separator(&self, node: &Node, first: usize) -> String {
        let head = line_head(self.text, first);
        let own_line = self
            .text
            .get(node.span.start..first)
            .is_some_and(|text| text.contains('\n'));
        if own_line && head.trim().is_empty() {
            format!(",{}{head}", self.layout.newline)
        } else {
            ", ".to_owned()
        }
    }
}

struct Place {
    start: usize,
    end: usize,
}
