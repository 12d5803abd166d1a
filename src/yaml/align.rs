//! Which item of a changed list is which item of the old one.

use serde_json::Value;

/// What became of a list, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// The old item with this index is the new item with that one, perhaps changed.
    Keep { old: usize, new: usize },
    /// The old item is gone.
    Remove { old: usize },
    /// The new item comes before the old item that follows in the steps.
    Insert { new: usize },
}

/// Cells of the table at most; lists in manifests are short, and longer ones are mostly equal at both ends.
const TABLE_LIMIT: usize = 1_000_000;

/// Aligns two lists by the longest common subsequence. Nothing where they differ in too many places to tell.
pub(super) fn align(old: &[Value], new: &[Value]) -> Option<Vec<Step>> {
    let head = old.iter().zip(new).take_while(|(a, b)| same(a, b)).count();
    let (old_rest, new_rest) = (old.get(head..)?, new.get(head..)?);
    let tail = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(|(a, b)| same(a, b))
        .count();
    let old_middle = old_rest.get(..old_rest.len() - tail)?;
    let new_middle = new_rest.get(..new_rest.len() - tail)?;

    let mut steps: Vec<Step> = (0..head).map(|at| Step::Keep { old: at, new: at }).collect();
    middle(old_middle, new_middle, head, &mut steps)?;
    steps.extend((0..tail).rev().map(|back| Step::Keep {
        old: old.len() - 1 - back,
        new: new.len() - 1 - back,
    }));
    Some(steps)
}

fn middle(old: &[Value], new: &[Value], offset: usize, steps: &mut Vec<Step>) -> Option<()> {
    let width = new.len() + 1;
    if (old.len() + 1).checked_mul(width)? > TABLE_LIMIT {
        return None;
    }
    // lengths[i * width + j]: the longest common subsequence of old[i..] and new[j..].
    let mut lengths = vec![0_u32; (old.len() + 1) * width];
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let length = if same(a, b) {
                lengths.get((i + 1) * width + j + 1)? + 1
            } else {
                *lengths
                    .get((i + 1) * width + j)?
                    .max(lengths.get(i * width + j + 1)?)
            };
            *lengths.get_mut(i * width + j)? = length;
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if same(a, b) => {
                steps.push(Step::Keep {
                    old: offset + i,
                    new: offset + j,
                });
                i += 1;
                j += 1;
            }
            (Some(_), Some(_)) if lengths.get((i + 1) * width + j) < lengths.get(i * width + j + 1) => {
                steps.push(Step::Insert { new: offset + j });
                j += 1;
            }
            (Some(_), _) => {
                steps.push(Step::Remove { old: offset + i });
                i += 1;
            }
            (None, _) => {
                steps.push(Step::Insert { new: offset + j });
                j += 1;
            }
        }
    }
    Some(())
}

/// Equal, or one thing in two states: Kubernetes tells the items of its lists apart by these keys.
fn same(a: &Value, b: &Value) -> bool {
    const IDENTITY: [&str; 5] = [
        "/kind",
        "/name",
        "/mountPath",
        "/metadata/name",
        "/metadata/namespace",
    ];
    let mut named = false;
    let alike = IDENTITY.iter().all(|pointer| {
        let (a, b) = (a.pointer(pointer), b.pointer(pointer));
        named |= a.is_some();
        a == b
    });
    alike && named || a == b
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_with_the_same_name_is_the_same_item() {
        let old = [json!({"name": "app", "image": "a"}), json!({"name": "proxy"})];
        let new = [
            json!({"name": "agent"}),
            json!({"name": "app", "image": "b"}),
            json!({"name": "proxy"}),
        ];
        assert_eq!(
            align(&old, &new),
            Some(vec![
                Step::Insert { new: 0 },
                Step::Keep { old: 0, new: 1 },
                Step::Keep { old: 1, new: 2 }
            ])
        );
    }

    proptest! {
        #[test]
        fn the_steps_make_the_new_list_out_of_the_old(
            old in prop::collection::vec(0_u8..4, 0..9),
            new in prop::collection::vec(0_u8..4, 0..9),
        ) {
            let values = |list: &[u8]| list.iter().map(|n| json!(n)).collect::<Vec<_>>();
            let (old, new) = (values(&old), values(&new));
            let mut seen = Vec::new();
            let mut made = Vec::new();
            for step in align(&old, &new).unwrap() {
                match step {
                    Step::Keep { old: from, new: to } => {
                        prop_assert_eq!(&old[from], &new[to]);
                        seen.push(from);
                        made.push(to);
                    }
                    Step::Remove { old: from } => seen.push(from),
                    Step::Insert { new: to } => made.push(to),
                }
            }
            prop_assert_eq!(seen, (0..old.len()).collect::<Vec<_>>());
            prop_assert_eq!(made, (0..new.len()).collect::<Vec<_>>());
        }
    }
}
