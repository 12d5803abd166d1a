//! Pods that nobody thought of: everything that the contract names, in every mixture.
//!
//! One file for each part of a pod. Each draws for itself, so that every mixture has a chance; what is rare in the world
//! (a quote that is never closed, a version without native sidecars) is rare here too, but never so rare that a run of a few
//! thousand pods would miss it: the table of what was reached says so.

use serde_json::{Value, json};

use crate::case::Case;
use crate::random::{Random, hash};

mod annotations;
mod containers;
mod copies;
mod environment;
mod hooks;
mod pods;
mod security;
pub(crate) mod surroundings;
mod volumes;

/// The pod of this number.
pub(crate) fn case(seed: u64, number: u64) -> Case {
    let random = &mut Random::new(seed, number);
    // What can make a pod be left alone is drawn seldom, or hardly any pod would get past all of it.
    let clean = random.percent(80);
    let mut case = Case {
        pod: pods::pod(random, clean),
        namespace: surroundings::namespace(random, clean),
        policies: surroundings::policies(random, clean),
        cluster: surroundings::cluster(random, clean),
        copy: false,
        salt: hash(seed, &number.to_string()),
    };
    if random.one_in(20) {
        copies::copy(random, &mut case);
    }
    case
}

/// Unknown members, as a version of tomorrow would add them.
fn of_tomorrow(random: &mut Random) -> Value {
    random
        .pick(&[
            json!({"kept": [1, 2.5, null], "deep": {"er": {"~/": "x"}}}),
            json!("text"),
            json!([]),
            json!(1e30),
        ])
        .clone()
}
