//! The inverse.

use heapship::inject::uninject;

use super::{Faults, same_text};
use crate::case::Trial;

pub(super) fn check(trial: &Trial<'_>, faults: &mut Faults) {
    let restored = uninject(trial.after());
    let again = uninject(&restored);
    if again != restored {
        faults.push(format!("uninjected twice is something else: {again}"));
    }
    // What a copy lost, nobody knows any more; an annotation that only the webhook writes is not the user's.
    let foreign = trial.before()["metadata"]["annotations"]
        .get("heapship.io/replaced")
        .is_some();
    if trial.case.copy || foreign {
        return;
    }
    if !same_text(&restored, trial.before()) {
        faults.push(format!("restored to {restored}"));
    }
    if uninject(trial.before()) != *trial.before() {
        faults.push("a pod without an injection changes".to_owned());
    }
}
