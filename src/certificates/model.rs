//! Two replicas, one Secret, one registration, every interleaving: whoever calls accepts what is served.
//!
//! The decisions and the certificates are the real ones. Played are the API server, the clocks and the accidents: a
//! replica that ends between any two steps, clocks that differ, a Secret that is deleted or broken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::admission::tls::Certificate;

use super::authority::{Authority, Validity};
use super::bundle::{Bundle, Strangers};
use super::content::{AUTHORITY_KEY, CERTIFICATE, Content};
use super::serving::{Demand, is_proven, may_serve};
use super::step::{Step, next};
use super::trust::{Standing, accepts};
use super::{Lifetimes, Service};

const LIFETIMES: Lifetimes = Lifetimes {
    authority: Duration::from_mins(5),
    certificate: Duration::from_secs(100),
};
const START: i64 = 1_800_000_000;
/// Long enough for a CA, its successor, and five certificates.
const SECONDS: i64 = 320;
/// Seconds between accidents of the Secret, or several at once: whoever breaks it again and again within each settle time
/// until the certificate has expired wins in the end.
const APART: i64 = 40;
/// Every replica gets to do everything at least this often.
const FAIRNESS: i64 = 3;

#[derive(Clone, Copy, Debug)]
enum Event {
    LookAtSecret(usize),
    WriteSecret(usize),
    LookAtRegistration(usize),
    WriteRegistration(usize),
    Serve(usize),
    Crash(usize),
    DeleteSecret,
    BreakSecret(&'static str),
}

struct World {
    started: Instant,
    second: i64,
    version: u32,
    secret: Option<(u32, BTreeMap<String, ByteString>)>,
    /// The caBundle, and every earlier one, with the second from which on it was there.
    bundles: Vec<(i64, Bundle)>,
    replicas: [Replica; 2],
    service: Service,
}

#[derive(Default)]
struct Replica {
    skew: i64,
    remembered: Option<Content>,
    truth: Vec<Authority>,
    standing: Standing,
    strangers: Strangers,
    served: Option<Arc<Certificate>>,
    secret_to_write: Option<(Option<u32>, Content)>,
    bundle_to_write: Option<(usize, Vec<CertificateDer<'static>>)>,
    ready_since: Option<i64>,
}

impl World {
    fn new(skews: [i64; 2]) -> Self {
        Self {
            started: Instant::now(),
            second: 0,
            version: 0,
            secret: None,
            bundles: vec![(0, Bundle::default())],
            replicas: skews.map(|skew| Replica {
                skew,
                ..Replica::default()
            }),
            service: Service {
                name: "heapship".to_owned(),
                namespace: "heapship-system".to_owned(),
            },
        }
    }

    fn now(&self) -> Instant {
        self.started + Duration::from_secs(u64::try_from(self.second).unwrap())
    }

    fn bundle(&self) -> &Bundle {
        &self.bundles.last().unwrap().1
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::LookAtSecret(of) => self.look_at_secret(of),
            Event::WriteSecret(of) => self.write_secret(of),
            Event::LookAtRegistration(of) => self.look_at_registration(of),
            Event::WriteRegistration(of) => {
                if let Some((version, bundle)) = self.replicas[of].bundle_to_write.take()
                    && version == self.bundles.len()
                {
                    let bundle = Bundle {
                        certificates: bundle,
                        has_garbage: false,
                    };
                    self.bundles.push((self.second, bundle));
                }
            }
            Event::Serve(of) => self.serve(of),
            Event::Crash(of) => {
                self.replicas[of] = Replica {
                    skew: self.replicas[of].skew,
                    ..Replica::default()
                };
            }
            Event::DeleteSecret => self.secret = None,
            Event::BreakSecret(entry) => {
                self.version += 1;
                if let Some((version, data)) = &mut self.secret {
                    *version = self.version;
                    data.insert(entry.to_owned(), ByteString(b"garbage".to_vec()));
                }
            }
        }
    }

    fn look_at_secret(&mut self, of: usize) {
        let now = self.now();
        let replica = &mut self.replicas[of];
        let at = START + self.second + replica.skew;
        let found = self
            .secret
            .as_ref()
            .and_then(|(_, data)| Content::read(data, &self.service).ok());
        if let Some(found) = &found {
            replica.truth = found.authorities().cloned().collect();
            replica.remembered = Some(found.clone());
        }
        let settle = LIFETIMES.settle();
        let is_trusted = found.as_ref().is_some_and(|found| {
            replica
                .standing
                .has_settled(&found.newest().certificate, settle, now)
        });
        let outline = found.as_ref().map(Content::outline);
        let remembered = replica.remembered.as_ref().map(Content::outline);
        let base = found.as_ref().or(replica.remembered.as_ref());
        let content = match next(outline.as_ref(), remembered.as_ref(), is_trusted, at) {
            Step::Begin => Content::begin(&self.service, LIFETIMES, at),
            Step::AddAuthority => base.unwrap().with_new_authority(&self.service, LIFETIMES, at),
            Step::RenewLeaf => base.unwrap().with_new_leaf(&self.service, LIFETIMES, at),
            Step::Forget => Ok(base.unwrap().without_old(at)),
            Step::AwaitTrust | Step::Wait(_) => return,
        };
        let version = self.secret.as_ref().map(|(version, _)| *version);
        replica.secret_to_write = Some((version, content.unwrap()));
    }

    fn write_secret(&mut self, of: usize) {
        let current = self.secret.as_ref().map(|(version, _)| *version);
        if let Some((version, content)) = self.replicas[of].secret_to_write.take()
            && version == current
        {
            self.version += 1;
            self.secret = Some((self.version, content.data()));
        }
    }

    fn look_at_registration(&mut self, of: usize) {
        let now = self.now();
        let bundle = self.bundle().clone();
        let version = self.bundles.len();
        let entries = [(self.service.server_name(), bundle.certificates.clone())];
        let replica = &mut self.replicas[of];
        let at = START + self.second + replica.skew;
        let before = match &replica.standing {
            Standing::Registered(trust) => trust.clone(),
            Standing::Unknown | Standing::Absent => super::trust::Trust::default(),
        };
        replica.standing = Standing::Registered(before.observed(&entries, now));
        replica.strangers = replica.strangers.observed([&bundle], &replica.truth, now);
        replica.bundle_to_write = bundle
            .repaired(&replica.truth, &replica.strangers, now, at)
            .map(|bundle| (version, bundle));
    }

    fn serve(&mut self, of: usize) {
        let now = self.now();
        let replica = &mut self.replicas[of];
        let at = START + self.second + replica.skew;
        let demand = Demand::Trusted {
            settle: LIFETIMES.settle(),
        };
        if let Some(known) = &replica.remembered {
            let current = replica.served.as_deref();
            if may_serve(current, known.certificate(), &replica.standing, demand, now, at) {
                replica.served = Some(Arc::clone(known.certificate()));
            }
        }
        if let Some(served) = &replica.served
            && replica.ready_since.is_none()
            && is_proven(served, &replica.standing, demand, now, at)
        {
            replica.ready_since = Some(self.second);
        }
    }

    /// A caller may lag behind the registration by less than the settle time.
    fn every_caller_accepts_what_is_served(&self) {
        let settle = i64::try_from(LIFETIMES.settle().as_secs()).unwrap();
        let at = START + self.second;
        let until = self
            .bundles
            .iter()
            .skip(1)
            .map(|(since, _)| *since)
            .chain([i64::MAX]);
        let seen = self
            .bundles
            .iter()
            .zip(until)
            .filter(|(_, until)| *until > self.second - settle);
        for ((since, bundle), _) in seen {
            let roots: Vec<_> = bundle
                .certificates
                .iter()
                .filter(|root| !Validity::of(root).unwrap().has_expired(at))
                .collect();
            for (index, replica) in self.replicas.iter().enumerate() {
                let Some(served) = &replica.served else { continue };
                // At the first start callers have to learn of the first CA, which is no worse than no webhook.
                if replica
                    .ready_since
                    .is_none_or(|ready| ready + settle > self.second)
                {
                    continue;
                }
                let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap()));
                assert!(
                    accepts(&roots, served.chain(), &self.service.server_name(), time),
                    "second {}: replica {index} serves what a caller with the bundle of second {since} refuses",
                    self.second
                );
            }
        }
    }

    fn everything(of: usize) -> [Event; 5] {
        [
            Event::LookAtSecret(of),
            Event::WriteSecret(of),
            Event::LookAtRegistration(of),
            Event::WriteRegistration(of),
            Event::Serve(of),
        ]
    }
}

fn event() -> impl Strategy<Value = Event> {
    let of = 0..2_usize;
    prop_oneof![
        8 => of.clone().prop_map(Event::LookAtSecret),
        8 => of.clone().prop_map(Event::WriteSecret),
        8 => of.clone().prop_map(Event::LookAtRegistration),
        8 => of.clone().prop_map(Event::WriteRegistration),
        8 => of.clone().prop_map(Event::Serve),
        1 => of.prop_map(Event::Crash),
    ]
}

fn accident() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::DeleteSecret),
        Just(CERTIFICATE).prop_map(Event::BreakSecret),
        Just(AUTHORITY_KEY).prop_map(Event::BreakSecret),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn whoever_calls_accepts_what_is_served(
        skews in [-8..8_i64, -8..8_i64],
        events in prop::collection::vec((0..SECONDS, event()), 0..400),
        accidents in prop::collection::vec((0..SECONDS / APART, accident()), 0..8),
    ) {
        let mut world = World::new(skews);
        let mut events = events;
        events.extend(accidents.into_iter().map(|(at, accident)| (at * APART, accident)));
        events.sort_by_key(|(second, _)| *second);
        let mut events = events.into_iter().peekable();
        while world.second < SECONDS {
            while let Some((_, event)) = events.next_if(|(second, _)| *second <= world.second) {
                world.happens(event);
                world.every_caller_accepts_what_is_served();
            }
            if world.second % FAIRNESS == 0 {
                for of in [0, 1] {
                    for event in World::everything(of) {
                        world.happens(event);
                        world.every_caller_accepts_what_is_served();
                    }
                }
            }
            world.second += 1;
        }
        // Whatever happened last is mended in a few rounds.
        for event in [0, 1, 0, 1].into_iter().flat_map(World::everything) {
            world.happens(event);
        }
        // It got somewhere: both serve, and what they serve is not the first.
        for replica in &world.replicas {
            prop_assert!(replica.served.as_ref().is_some_and(|served| served.expires > START + SECONDS));
        }
        prop_assert!(world.bundles.len() >= 2, "a CA was renewed");
    }
}
