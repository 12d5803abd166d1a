//! Every reason code, what it means and what to do: the source of `docs/reasons.md`.

/// One row of the page.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The code: metric label, audit value, `heapship.io/status`.
    pub code: &'static str,
    /// What happened to the pod.
    pub meaning: &'static str,
    /// What a person can do.
    pub remedy: &'static str,
}

const fn entry(code: &'static str, meaning: &'static str, remedy: &'static str) -> Entry {
    Entry {
        code,
        meaning,
        remedy,
    }
}

/// The pod was left alone.
pub const SKIPPED: &[Entry] = &[
    entry(
        "mirror-pod",
        "It mirrors a static pod, which the API server cannot change. No status is written.",
        "Put the flags into the static pod's file.",
    ),
    entry(
        "windows",
        "It is a Windows or hostProcess pod. No status is written.",
        "Nothing: the agent has no Windows build.",
    ),
    entry(
        "debug-pod",
        "It was made by `kubectl debug node/…`. No status is written.",
        "Nothing.",
    ),
    entry(
        "excluded-namespace",
        "It is in kube-system, kube-node-lease or the webhook's own namespace. No status is written.",
        "Run the application in a namespace of its own.",
    ),
    entry(
        "opted-out",
        "`heapship.io/inject` is `\"false\"` on the pod or its namespace. No status is written.",
        "Remove the annotation, or set it to `\"true\"` on the pod.",
    ),
    entry(
        "kubernetes-too-old",
        "The cluster has no native sidecars, or the version given to the command line is too old.",
        "Use Kubernetes 1.29 or newer, or `heapship.io/agent: \"off\"` for flags and volume only.",
    ),
    entry(
        "invalid-annotation",
        "One or several annotations hold a value that is not allowed; the message names each.",
        "Correct the values; [annotations.md](annotations.md) lists what is allowed.",
    ),
    entry(
        "nothing-asked",
        "`on-oom` and `pre-stop` are both off.",
        "Turn one of them on, or remove `heapship.io/inject`.",
    ),
    entry(
        "no-destination",
        "Neither annotations nor a policy say where dumps go.",
        "Set `heapship.io/destination`, or a policy's `settings.destination`.",
    ),
    entry(
        "file-destination",
        "A `file://` destination must lie on the volume that the policy mounts.",
        "Set `store.volume` and `store.mountPath` in the policy, and a destination below that path.",
    ),
    entry(
        "unsupported-store",
        "The agent of this version ships to `s3://` and `file://`.",
        "Use one of these; most stores speak the S3 protocol.",
    ),
    entry(
        "unknown-container",
        "`heapship.io/containers` names a container that the pod has not.",
        "Correct the name; the message lists those there are.",
    ),
    entry(
        "no-containers",
        "All containers are known sidecars of other injectors.",
        "Name the JVM's container in `heapship.io/containers`.",
    ),
    entry(
        "unmatched-quote",
        "The option variable has a quote that is never closed: the JVM refuses to start with it.",
        "Close the quote. HotSpot knows no escape character.",
    ),
    entry(
        "options-too-long",
        "The variable must stay as it is, and `_JAVA_OPTIONS` is in use or may be set by `envFrom`.",
        "Shorten the variable (JDK 8 reads 1023 bytes and 64 options), or move `_JAVA_OPTIONS` into it.",
    ),
    entry(
        "architecture",
        "The pod's node selector asks for an architecture that the agent's image lacks.",
        "Build the image for it and name it in the policy's `agent.architectures`.",
    ),
    entry(
        "name-taken",
        "The pod has a container or volume of its own with one of our names, needed this time or not.",
        "Rename it: names that begin with `heapship-` are ours.",
    ),
    entry(
        "path-taken",
        "The application mounts something of its own below `/heapship`.",
        "Mount it elsewhere.",
    ),
    entry(
        "annotations-too-large",
        "The pod's annotations would exceed the 256 KiB that Kubernetes allows. The status is written only if it fits.",
        "Shorten the pod's own annotations.",
    ),
    entry(
        "not-a-pod",
        "The object has no containers.",
        "Nothing: the API server will refuse it.",
    ),
    entry(
        "internal-error",
        "A fault of heapship; the pod is left as it was.",
        "Report it with the pod's manifest.",
    ),
];

/// The pod is injected, and somebody should know something.
pub const WARNINGS: &[Entry] = &[
    entry(
        "unknown-annotation",
        "A key below `heapship.io/` that no setting has; the nearest one is named.",
        "Correct the key.",
    ),
    entry(
        "outside-policy",
        "An annotation that the policy does not allow, or allows less of; the next lower level applies.",
        "Ask the platform team, or stay within the bounds that the message names.",
    ),
    entry(
        "heap-dumps-refused",
        "`-XX:-HeapDumpOnOutOfMemoryError` is set and stays.",
        "Remove the flag to get dumps.",
    ),
    entry(
        "heap-dump-path-replaced",
        "The application's own `HeapDumpPath` is not on a writable volume: the file would die with the container. Ours comes last and wins.",
        "Remove the flag.",
    ),
    entry(
        "heap-dump-path-lost",
        "`_JAVA_OPTIONS` sends dumps to a path that is not on a volume, and nothing is stronger.",
        "Remove the flag from `_JAVA_OPTIONS`.",
    ),
    entry(
        "options-in-java-options",
        "The variable stays as it is, because JDK 8 would drop it, other fields refer to it, or a source of `envFrom` is of an unknown kind; ours are in `_JAVA_OPTIONS`.",
        "Nothing, unless the application's command line sets the same flags.",
    ),
    entry(
        "options-stripped",
        "The container's command unsets or assigns the variable before it starts the JVM (`unset`, `env -i`, `NAME=…`).",
        "Remove that from the command, or name a variable that reaches the JVM in `heapship.io/java-options-variable`.",
    ),
    entry(
        "restart-policy-taken",
        "Another webhook, built for a Kubernetes without native sidecars, took `restartPolicy: Always` off the agent. It was put \
         back, and the agent ends once at its start, so that the application starts even if it is taken again.",
        "Update the other webhook. `heapship check` finds pods whose agent is no sidecar.",
    ),
    entry(
        "volume-too-small",
        "An `emptyDir` below the largest dump's peak: overfull, it evicts the pod and the dump is lost.",
        "Raise the size, or leave it out.",
    ),
    entry(
        "volume-not-writable",
        "Dumps go to a claim, the pod has no `fsGroup` and its user is not root: the claim's root may belong to root.",
        "Set `securityContext.fsGroup`.",
    ),
    entry(
        "grace-too-short",
        "With the application's own share and the time to upload, the grace period leaves no time for a dump on termination.",
        "Raise `heapship.io/termination-grace-period`, or lower `heapship.io/upload-grace`.",
    ),
    entry(
        "attach-disabled",
        "`-XX:+DisableAttachMechanism` is set: no tool can ask the JVM for a dump.",
        "Remove the flag, or turn `pre-stop` off.",
    ),
    entry(
        "run-as-user-refused",
        "`heapship.io/run-as-user` is 0, and the pod says `runAsNonRoot`: the agent runs from the application's image instead.",
        "Remove the annotation, or name the application's user.",
    ),
    entry(
        "liveness-too-short",
        "The liveness probe would kill the JVM while it dumps.",
        "Set `heapship.io/liveness: extend`.",
    ),
    entry(
        "pre-stop-init-container",
        "An init container has no preStop hook.",
        "Nothing.",
    ),
    entry(
        "pre-stop-unwrapped",
        "The container's own preStop hook cannot be carried out from inside it, so it stays and no dump is taken on termination.",
        "Use an exec, sleep or httpGet hook without a host.",
    ),
];

/// The workload carries something that nobody reads; its pods do not know of it.
pub const WORKLOADS: &[Entry] = &[entry(
    MISPLACED_KEY,
    "A key of ours stands on the workload's own metadata, or is a label: nobody reads it there.",
    "Move it to the annotations of the pod template, as the warning says.",
)];

/// See [`WORKLOADS`].
pub const MISPLACED_KEY: &str = "misplaced-key";

/// `docs/reasons.md`.
#[must_use]
pub fn page() -> String {
    let table = |entries: &[Entry]| {
        let rows = entries.iter().map(
            |Entry {
                 code,
                 meaning,
                 remedy,
             }| format!("| `{code}` | {meaning} | {remedy} |\n"),
        );
        format!(
            "| code | what happened | what to do |\n|---|---|---|\n{}",
            rows.collect::<String>()
        )
    };
    format!(
        "# Reason codes\n\n\
         They stand in `heapship.io/status`, in audit annotations, in the metric's label `reason`, in what `heapship explain` \
         says, and as the reason of Events, there as `InvalidAnnotation`. Their sentences are the admission warnings of pods \
         and of the workloads that make them. They are stable. This page is generated: `make bless` writes it anew.\n\n\
         ## The pod was left alone\n\n{}\n## The pod is injected, with a warning\n\n{}\n## Only the workload is warned about\n\n{}",
        table(SKIPPED),
        table(WARNINGS),
        table(WORKLOADS)
    )
}
