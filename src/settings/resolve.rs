//! Precedence and limits, in one function.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::destination::Destination;
use crate::key::KeyTemplate;
use crate::names;
use crate::settings::annotations::{InvalidValue, Key};
use crate::settings::policy::Policy;
use crate::settings::values::{Auto, GracePeriod, SecretName, Switch, UserId, Value, VariableName};
use crate::settings::{
    Annotations, Compression, ContainerChoice, Layers, Level, Liveness, OnOom, Origin, PreStop, PreStopOrder,
    Request, Resolved, Settings, Volume,
};

/// Decides every setting: built-in < policy < namespace < pod, within the policy's limits.
///
/// A pod's wrong value is an error; a namespace's only where the pod does not override it. A value outside the policy's
/// limits is passed over with a warning, and the next lower level applies.
#[must_use]
pub fn resolve(layers: &Layers<'_>) -> Resolved {
    let mut search = Search {
        layers,
        invalid: Vec::new(),
        origins: Vec::new(),
        warnings: Vec::new(),
    };
    search.warn_of_unknown_keys();
    let request = search.request();
    let settings = search.settings();
    let Search {
        layers: _,
        invalid,
        origins,
        warnings,
    } = search;
    let settings = if invalid.is_empty() {
        Ok(settings)
    } else {
        Err(invalid)
    };
    Resolved {
        request,
        settings,
        origins,
        warnings,
    }
}

struct Search<'a> {
    layers: &'a Layers<'a>,
    invalid: Vec<InvalidValue>,
    origins: Vec<Origin>,
    warnings: Vec<(&'static str, String)>,
}

impl Search<'_> {
    fn warn_of_unknown_keys(&mut self) {
        for (annotations, whose) in [
            (self.layers.pod, "the pod"),
            (self.layers.namespace, "the namespace"),
        ] {
            for key in annotations.keys() {
                let Some(name) = key.strip_prefix(names::PREFIX) else {
                    continue;
                };
                if Key::named(name).is_some() || [names::STATUS, names::REPLACED].contains(&key.as_str()) {
                    continue;
                }
                let hint =
                    Key::nearest(name).map_or_else(String::new, |near| format!("; did you mean {near}?"));
                self.warnings.push((
                    "unknown-annotation",
                    format!("unknown annotation {key} on {whose}{hint}"),
                ));
            }
        }
    }

    /// Who asks, or forbids; a policy's mode stands below every annotation.
    fn request(&mut self) -> Request {
        for (annotations, level) in [
            (self.layers.pod, Level::Pod),
            (self.layers.namespace, Level::Namespace),
        ] {
            let Some(text) = written(annotations, Key::Inject) else {
                continue;
            };
            self.origins.push(Origin {
                key: Key::Inject,
                value: text.to_owned(),
                level: level.clone(),
            });
            return match bool::read(text) {
                Ok(true) => Request::Inject(level),
                Ok(false) => Request::OptedOut(level),
                // Whoever wrote it wanted something: the reason is reported, and nothing is done.
                Err(detail) => {
                    self.invalid.push(InvalidValue::of(
                        &Key::Inject.to_string(),
                        text,
                        Key::Inject,
                        detail,
                    ));
                    Request::Inject(level)
                }
            };
        }
        match self.layers.policy {
            Some(policy) if policy.injects_unasked() => Request::Inject(Level::Policy(policy.name.clone())),
            _ => Request::NotAsked,
        }
    }

    fn settings(&mut self) -> Settings {
        let limits = |policy: &Policy| policy.limits.clone();
        let grace = self.value(Key::TerminationGracePeriod, |GracePeriod(wanted), policy| {
            let most = limits(policy).termination_grace_period?;
            (*wanted > most).then(|| format!("at most {}", crate::quantity::format_duration(most)))
        });
        let pre_stop_delay = self.value(Key::PreStopDelay, |wanted: &Duration, policy| {
            let most = limits(policy).pre_stop_delay?;
            (*wanted > most).then(|| format!("at most {}", crate::quantity::format_duration(most)))
        });
        let upload_grace = self.value(Key::UploadGrace, |wanted: &Option<Duration>, policy| {
            let (wanted, most) = ((*wanted)?, limits(policy).upload_grace?);
            (wanted > most).then(|| format!("at most {}", crate::quantity::format_duration(most)))
        });
        let max_dumps = self.value(Key::MaxDumps, |wanted: &NonZeroU32, policy| {
            let most = limits(policy).max_dumps?;
            (wanted.get() > most).then(|| format!("at most {most}"))
        });
        let volume = self.value(Key::Volume, |wanted: &Volume, policy| {
            let most = limits(policy).volume_size?;
            let size = match wanted {
                Volume::EmptyDir { size_limit } => (*size_limit)?,
                Volume::Claim { .. } => return None,
                Volume::Ephemeral { size, .. } => *size,
            };
            (size > most).then(|| format!("at most {most}"))
        });
        let destination = self.value(Key::Destination, |wanted: &Destination, policy| {
            let ours = policy
                .settings
                .get(&Key::Destination)
                .and_then(|text| Destination::parse(text))?;
            (!policy.limits.other_buckets && !wanted.same_bucket(&ours))
                .then(|| format!("only the bucket of {ours}"))
        });
        let key_template = self.value(Key::KeyTemplate, |wanted: &KeyTemplate, policy| {
            let fixed =
                policy.settings.contains_key(&Key::Destination) && !policy.limits.keys_without_namespace;
            (fixed && !wanted.uses("namespace")).then(|| "only templates with {namespace}".to_owned())
        });
        let most = self.layers.policy.map(limits);
        // Built-in defaults stand here and in `Key::description`, whose text a test compares with them.
        Settings {
            containers: self.free(Key::Containers).unwrap_or(ContainerChoice::Unset),
            on_oom: self.free(Key::OnOom).unwrap_or(OnOom::Dump),
            pre_stop: self.free(Key::PreStop).unwrap_or(PreStop::Off),
            pre_stop_order: self.free(Key::PreStopOrder).unwrap_or(PreStopOrder::Auto),
            pre_stop_delay: pre_stop_delay.unwrap_or(Duration::ZERO),
            termination_grace_period: grace.map_or_else(
                || {
                    at_most(
                        Duration::from_mins(10),
                        most.as_ref().and_then(|most| most.termination_grace_period),
                    )
                },
                |GracePeriod(grace)| grace,
            ),
            upload_grace: upload_grace.unwrap_or(None),
            agent: self.free(Key::Agent).is_none_or(|Switch(on)| on),
            image_options: self.free(Key::ImageOptions).is_none_or(|Auto(on)| on),
            liveness: self.free(Key::Liveness).unwrap_or(Liveness::Keep),
            volume: volume.unwrap_or(Volume::EmptyDir { size_limit: None }),
            destination,
            key_template: key_template.unwrap_or_default(),
            compression: self.free(Key::Compression).unwrap_or(Compression::Gzip),
            credentials_secret: self.free(Key::CredentialsSecret).map(|SecretName(name)| name),
            run_as_user: self.free(Key::RunAsUser).map(|UserId(id)| id),
            java_options_variable: self.free(Key::JavaOptionsVariable).map(|VariableName(name)| name),
            max_dumps: max_dumps.map_or_else(
                || at_most(10, most.as_ref().and_then(|most| most.max_dumps)),
                NonZeroU32::get,
            ),
        }
    }

    /// A setting that policies do not limit.
    fn free<T: Value>(&mut self, key: Key) -> Option<T> {
        self.value(key, |_: &T, _| None)
    }

    /// The strongest value that somebody wrote. `outside` says what the policy allows when an annotation exceeds it.
    fn value<T: Value>(&mut self, key: Key, outside: impl Fn(&T, &Policy) -> Option<String>) -> Option<T> {
        if let Some((value, _)) = self.annotated(key, outside) {
            return Some(value);
        }
        let policy = self.layers.policy?;
        let text = policy.settings.get(&key)?;
        // A policy's values were parsed when it was loaded: an unreadable one does not get here.
        let value = T::read(text).ok()?;
        self.origins.push(Origin {
            key,
            value: text.clone(),
            level: Level::Policy(policy.name.clone()),
        });
        Some(value)
    }

    fn annotated<T: Value>(
        &mut self,
        key: Key,
        outside: impl Fn(&T, &Policy) -> Option<String>,
    ) -> Option<(T, Level)> {
        for (annotations, level) in [
            (self.layers.pod, Level::Pod),
            (self.layers.namespace, Level::Namespace),
        ] {
            let Some(text) = written(annotations, key) else {
                continue;
            };
            if let Some(policy) = self.layers.policy.filter(|policy| !policy.limits.allows(key)) {
                let said = format!(
                    "{key} on {level} is ignored: policy {} does not let annotations set it",
                    policy.name
                );
                self.warnings.push(("outside-policy", said));
                continue;
            }
            let value = match T::read(text) {
                Ok(value) => value,
                Err(detail) => {
                    self.invalid
                        .push(InvalidValue::of(&key.to_string(), text, key, detail));
                    return None;
                }
            };
            if let Some((policy, allowed)) = self
                .layers
                .policy
                .and_then(|policy| Some((policy, outside(&value, policy)?)))
            {
                let name = &policy.name;
                let said = format!("{key} {text:?} on {level} is ignored: policy {name} allows {allowed}");
                self.warnings.push(("outside-policy", said));
                continue;
            }
            self.origins.push(Origin {
                key,
                value: text.to_owned(),
                level: level.clone(),
            });
            return Some((value, level));
        }
        None
    }
}

/// A built-in default keeps to the policy's bound too.
fn at_most<T: Ord>(built_in: T, bound: Option<T>) -> T {
    match bound {
        Some(bound) => built_in.min(bound),
        None => built_in,
    }
}

impl InvalidValue {
    /// `name` is how the reader knows the setting: an annotation's key, or a field of a policy.
    #[must_use]
    pub fn of(name: &str, text: &str, key: Key, detail: String) -> Self {
        let value = text.chars().take(60).collect();
        Self {
            key: name.to_owned(),
            value,
            allowed: key.description().allowed,
            detail,
        }
    }
}

/// What an annotation says; an empty value counts as unset.
fn written(annotations: &Annotations, key: Key) -> Option<&str> {
    annotations
        .get(&key.to_string())
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::policy::Policies;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        pairs
            .iter()
            .map(|(key, value)| (format!("heapship.io/{key}"), (*value).to_owned()))
            .collect()
    }

    fn resolved(policy: &str, namespace: &[(&str, &str)], pod: &[(&str, &str)]) -> Resolved {
        let policies = Policies::from_yaml(policy).unwrap();
        let (namespace, pod) = (annotations(namespace), annotations(pod));
        let policy = policies.select("team-a", &Annotations::new(), &Annotations::new());
        resolve(&Layers {
            policy,
            namespace: &namespace,
            pod: &pod,
        })
    }

    const POLICY: &str = "
kind: HeapDumpPolicy
metadata: {name: base}
spec:
  mode: OptOut
  settings: {destination: 's3://dumps/prod', maxDumps: 5, compression: zstd}
  limits: {maxDumps: 20, terminationGracePeriod: 15m}
";

    #[test]
    fn the_pod_wins_over_the_namespace_and_the_namespace_over_the_policy() {
        let settings = resolved(POLICY, &[("max-dumps", "7")], &[]).settings.unwrap();
        assert_eq!(settings.max_dumps, 7);
        let settings = resolved(POLICY, &[("max-dumps", "7")], &[("max-dumps", "9")])
            .settings
            .unwrap();
        assert_eq!(settings.max_dumps, 9);
        let settings = resolved(POLICY, &[], &[]).settings.unwrap();
        assert_eq!((settings.max_dumps, settings.compression), (5, Compression::Zstd));
        assert_eq!(resolved("", &[], &[]).settings.unwrap().max_dumps, 10);
    }

    #[test]
    fn a_value_outside_the_policys_limits_falls_to_the_next_level_and_is_said() {
        let resolved = resolved(POLICY, &[("max-dumps", "8")], &[("max-dumps", "50")]);
        assert_eq!(resolved.settings.unwrap().max_dumps, 8);
        assert_eq!(
            resolved.warnings,
            [(
                "outside-policy",
                "heapship.io/max-dumps \"50\" on the pod is ignored: policy base allows at most 20"
                    .to_owned()
            )]
        );
    }

    #[test]
    fn no_tenant_reaches_another_bucket_or_another_namespaces_keys() {
        let pod = [
            ("destination", "s3://elsewhere/x"),
            ("key-template", "{pod}/{time}.hprof"),
        ];
        let resolved = resolved(POLICY, &[], &pod);
        let settings = resolved.settings.unwrap();
        assert_eq!(settings.destination.unwrap().to_string(), "s3://dumps/prod");
        assert!(settings.key_template.uses("namespace"));
        assert_eq!(resolved.warnings.len(), 2);
    }

    #[test]
    fn a_wrong_namespace_value_matters_only_where_the_pod_does_not_override_it() {
        let wrong = resolved("", &[("on-oom", "explode")], &[]);
        assert_eq!(
            wrong.settings.unwrap_err().first().unwrap().to_string(),
            "heapship.io/on-oom: \"explode\" is not allowed: use dump, dump-and-exit or off"
        );
        assert!(
            resolved("", &[("on-oom", "explode")], &[("on-oom", "off")])
                .settings
                .is_ok()
        );
    }

    #[test]
    fn every_wrong_value_is_named_at_once() {
        let pod = [
            ("on-oom", "x"),
            ("max-dumps", "0"),
            ("termination-grace-period", "600"),
            ("volume", "disk"),
        ];
        let errors = resolved("", &[], &pod).settings.unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 4, "{texts:?}");
        assert!(
            texts
                .iter()
                .any(|text| text.ends_with("at least 1s (a duration needs a unit: 600s, 600m or 600h)")),
            "{texts:?}"
        );
    }

    #[test]
    fn an_unreadable_opt_in_is_reported_and_not_passed_over() {
        let resolved = resolved("", &[("inject", "true")], &[("inject", "yes")]);
        assert_eq!(resolved.request, Request::Inject(Level::Pod));
        let said = resolved.settings.unwrap_err().first().unwrap().to_string();
        assert_eq!(
            said,
            "heapship.io/inject: \"yes\" is not allowed: use true or false"
        );
    }

    #[test]
    fn built_in_defaults_keep_to_the_policys_bounds() {
        let policy = "{kind: HeapDumpPolicy, metadata: {name: p}, spec: {limits: {maxDumps: 5, terminationGracePeriod: 5m}}}";
        let settings = resolved(policy, &[], &[]).settings.unwrap();
        assert_eq!(
            (settings.max_dumps, settings.termination_grace_period),
            (5, Duration::from_mins(5))
        );
    }

    #[test]
    fn an_empty_value_counts_as_unset() {
        let settings = resolved("", &[("max-dumps", "3")], &[("max-dumps", "  ")])
            .settings
            .unwrap();
        assert_eq!(settings.max_dumps, 3);
    }

    #[test]
    fn the_pods_word_on_injection_is_the_last() {
        assert_eq!(resolved("", &[], &[]).request, Request::NotAsked);
        assert_eq!(
            resolved("", &[("inject", "true")], &[]).request,
            Request::Inject(Level::Namespace)
        );
        assert_eq!(
            resolved("", &[("inject", "true")], &[("inject", "false")]).request,
            Request::OptedOut(Level::Pod)
        );
        assert_eq!(
            resolved(POLICY, &[], &[]).request,
            Request::Inject(Level::Policy("base".into()))
        );
        assert_eq!(
            resolved(POLICY, &[("inject", "false")], &[]).request,
            Request::OptedOut(Level::Namespace)
        );
    }

    #[test]
    fn the_documented_defaults_are_the_built_in_ones() {
        let nothing = resolved("", &[], &[]).settings.unwrap();
        let documented: Annotations = Key::ALL
            .into_iter()
            .filter(|key| !["unset", "from the policy"].contains(&key.description().default))
            .map(|key| (key.to_string(), key.description().default.to_owned()))
            .collect();
        let layers = Layers {
            policy: None,
            namespace: &Annotations::new(),
            pod: &documented,
        };
        assert_eq!(resolve(&layers).settings.unwrap(), nothing);
    }
}
