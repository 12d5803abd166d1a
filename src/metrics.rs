//! What the webhook counts, and its text for Prometheus. Labels are decisions and reason codes: never a name of a pod,
//! of which a cluster has no end.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds. A review takes tens of microseconds and the API server gives up after two seconds: what is
/// in between says how far away that is.
const DURATIONS: [f64; 13] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0,
];

/// One decision; see `admission::answer::Verdict`, and `refused` for what was no review.
#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
pub struct Labels {
    decision: &'static str,
    reason: &'static str,
}

/// The metrics of one webhook process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    duration: Histogram,
    /// Requests whose answer is being made.
    pub in_flight: Gauge,
    /// Open connections of the admission port.
    pub connections: Gauge,
    /// Connections that ended before a request could be sent: not TLS, no common version, no trusted certificate.
    pub handshake_failures: Counter,
    /// End of the served certificate, in seconds since 1970.
    pub certificate_expiry: Gauge,
    /// Certificates read from the files that were not fit to be served.
    pub certificate_rejections: Counter,
    /// Namespaces that are known.
    pub namespaces: Gauge,
    /// 1 while the watch of namespaces is broken, so that what is known of them may be old.
    pub namespaces_stale: Gauge,
    /// Times that the watch of namespaces broke, or did not come to stand.
    pub namespace_watch_failures: Counter,
    /// Reviews that had to ask the API server for a namespace.
    pub namespace_look_ups: Counter,
    /// Those of them that learned nothing: their pods were admitted unchanged.
    pub namespace_look_up_failures: Counter,
    /// Labels of namespaces that the webhook put right.
    pub namespace_label_patches: Counter,
    /// Attempts at it that failed; each is made again.
    pub namespace_label_patch_failures: Counter,
    /// End of the CA that signs self-managed certificates, in seconds since 1970.
    pub authority_expiry: Gauge,
    /// Changes that this replica made to the Secret of self-managed certificates.
    pub certificate_renewals: Counter,
    /// Times that this replica wrote a registration's caBundle.
    pub ca_bundle_repairs: Counter,
    /// Events written on workloads, or continued there.
    pub events: Counter,
    /// Attempts at it that failed; none is made again.
    pub event_failures: Counter,
    /// Events that were never attempted: too many workloads had one at a time.
    pub events_dropped: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("heapship_webhook");
        // The encoder adds the dot at the end of each text, and `_total` to the names of counters.
        let r = &mut registry;
        Self {
            requests: registered(
                r,
                "requests",
                "Requests by decision and reason",
                Family::default(),
            ),
            duration: registered(
                r,
                "request_duration_seconds",
                "Time from a request's header to its answer",
                Histogram::new(DURATIONS),
            ),
            in_flight: new(r, "requests_in_flight", "Requests being answered"),
            connections: new(r, "connections", "Open connections of the admission port"),
            handshake_failures: new(
                r,
                "tls_handshake_failures",
                "Connections that failed before their first request",
            ),
            certificate_expiry: new(
                r,
                "certificate_expiry_timestamp_seconds",
                "End of the served certificate, in seconds since 1970",
            ),
            certificate_rejections: new(
                r,
                "certificate_rejections",
                "Replacement certificates that were not fit to be served",
            ),
            namespaces: new(r, "namespaces", "Namespaces that are known"),
            namespaces_stale: new(
                r,
                "namespaces_stale",
                "1 while the watch of namespaces is broken and what is known of them may be old",
            ),
            namespace_watch_failures: new(
                r,
                "namespace_watch_failures",
                "Times that the watch of namespaces broke or did not come to stand",
            ),
            namespace_look_ups: new(
                r,
                "namespace_look_ups",
                "Reviews that had to ask the API server for a namespace",
            ),
            namespace_look_up_failures: new(
                r,
                "namespace_look_up_failures",
                "Look-ups of a namespace that learned nothing, so that the pod was admitted unchanged",
            ),
            namespace_label_patches: new(
                r,
                "namespace_label_patches",
                "Labels of namespaces that were put right outside a review",
            ),
            namespace_label_patch_failures: new(
                r,
                "namespace_label_patch_failures",
                "Attempts to put a namespace's label right that failed and are made again",
            ),
            authority_expiry: new(
                r,
                "authority_expiry_timestamp_seconds",
                "End of the CA that signs self-managed certificates, in seconds since 1970",
            ),
            certificate_renewals: new(
                r,
                "certificate_renewals",
                "Changes to the Secret of self-managed certificates by this replica",
            ),
            ca_bundle_repairs: new(
                r,
                "ca_bundle_repairs",
                "Times that this replica wrote a registration's caBundle",
            ),
            events: new(r, "events", "Events written on workloads, or continued there"),
            event_failures: new(
                r,
                "event_failures",
                "Events that could not be written; the next pod brings them again",
            ),
            events_dropped: new(
                r,
                "events_dropped",
                "Events that were let go because too many workloads had one at a time",
            ),
            registry,
        }
    }
}

fn new<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    registered(registry, name, help, M::default())
}

fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Counts one request that was answered with a review or refused.
    pub fn request(&self, decision: &'static str, reason: &'static str, duration: Duration) {
        self.requests.get_or_create(&Labels { decision, reason }).inc();
        self.duration.observe(duration.as_secs_f64());
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// None that is known: text into memory.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// Counts something up for as long as it lives, whichever way it ends.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    /// Counts one more.
    #[must_use]
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_each_metric_once_with_its_unit_and_suffix() {
        let metrics = Metrics::default();
        metrics.request("skipped", "windows", Duration::from_micros(80));
        let held = Held::new(&metrics.in_flight);
        let text = metrics.encode().unwrap();
        for line in [
            "heapship_webhook_requests_total{decision=\"skipped\",reason=\"windows\"} 1",
            "heapship_webhook_request_duration_seconds_bucket{le=\"0.0001\"} 1",
            "heapship_webhook_requests_in_flight 1",
            "heapship_webhook_certificate_expiry_timestamp_seconds 0",
            "# EOF",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in\n{text}"
            );
        }
        drop(held);
        assert_eq!(metrics.in_flight.get(), 0);
    }
}
