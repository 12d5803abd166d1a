//! Every key, path and name that users can see: annotations, volumes, containers, paths, variables.
//!
//! These are the interface. Whoever changes one changes what is written in manifests, dashboards and runbooks.

/// Prefix of every annotation and label of ours.
pub const PREFIX: &str = "heapship.io/";

/// On a pod: what was done, or the reason code and sentence why not. JSON, written by the webhook only.
pub const STATUS: &str = "heapship.io/status";
/// On a pod: what had to be replaced and what it was before, so that `uninject` restores it. JSON.
pub const REPLACED: &str = "heapship.io/replaced";
/// On a pod or namespace: opt in or out.
pub const INJECT: &str = "heapship.io/inject";

/// The label that the API server puts on every namespace: its name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Namespaces of the cluster's own, in which nothing is ever touched.
pub const SYSTEM_NAMESPACES: [&str; 2] = ["kube-system", "kube-node-lease"];

/// On a namespace: its pods are to be looked at. A registration selects by labels only, so this one is derived from the
/// namespace's annotations and the policies, by the webhook; what a person writes there is put right.
pub const INJECTION_LABEL: &str = "heapship.io/injection";
/// The only value of [`INJECTION_LABEL`].
pub const INJECTION_ENABLED: &str = "enabled";

/// Name of the webhook's own objects unless somebody says otherwise: Deployment, Service, and the registration, which has
/// to sort before `pod-identity-webhook` (facts of the field: configurations are called in the order of their names).
pub const WEBHOOK: &str = "heapship";
/// Namespace of the installation unless somebody says otherwise.
pub const INSTALLATION_NAMESPACE: &str = "heapship-system";
/// For people who look: reads what `heapship check` and `heapship explain` read.
pub const VIEWER_ROLE: &str = "heapship-viewer";
/// For people who run it: probes, asks agents to write to their store, removes the registration.
pub const OPERATOR_ROLE: &str = "heapship-operator";
/// Secret of the certificates that the replicas make themselves.
pub const CERTIFICATES_SECRET: &str = "heapship-certificates";
/// The two objects of the registration, which have one name: what changes pods, and what only warns about workloads.
pub const REGISTRATION: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
/// Entries of the first: pods of namespaces that carry [`INJECTION_LABEL`], pods elsewhere that carry an
/// annotation of ours, and namespaces, to put the label there.
pub const WEBHOOK_ENTRIES: [&str; 3] = [
    "pods.heapship.io",
    "annotated-pods.heapship.io",
    "namespaces.heapship.io",
];
/// Entries of the second: workloads of namespaces that carry [`INJECTION_LABEL`], and workloads elsewhere that name us.
pub const WARNING_ENTRIES: [&str; 2] = ["workloads.heapship.io", "annotated-workloads.heapship.io"];
/// Labels of the webhook's own objects.
pub const OWN_LABELS: [(&str, &str); 2] = [
    ("app.kubernetes.io/name", "heapship"),
    ("app.kubernetes.io/component", "webhook"),
];
/// Who we are in an object's managed fields.
pub const FIELD_MANAGER: &str = "heapship";

/// Name of the container, and the beginning of the names of all of them when a pod needs several.
pub const AGENT_CONTAINER: &str = "heapship-agent";
/// Name of the init container that fills the tools volume.
pub const TOOLS_CONTAINER: &str = "heapship-tools";
/// Name of the init container that runs from the application's image and hands the options on which that sets itself, and
/// the beginning of their names when a pod has several images.
pub const IMAGE_OPTIONS_CONTAINER: &str = "heapship-image-options";
/// Volume for dumps, mounted with the container's name as `subPath` in applications, whole in the agent.
pub const DUMPS_VOLUME: &str = "heapship-dumps";
/// Volume that holds the static binary.
pub const TOOLS_VOLUME: &str = "heapship-tools";
/// Volume of the env files that hold an image's own options: never mounted where the kubelet reads them into.
pub const IMAGE_OPTIONS_VOLUME: &str = "heapship-image-options";
/// Volume with nothing in it, mounted where the service account's token would be, so that the agent has none.
pub const NO_TOKEN_VOLUME: &str = "heapship-no-token";

/// Volume of a `file://` destination, as the policy names it.
pub const STORE_VOLUME: &str = "heapship-store";

/// All of these: whatever else a pod calls so, it must not be taken for ours.
pub const VOLUMES: [&str; 5] = [
    DUMPS_VOLUME,
    TOOLS_VOLUME,
    IMAGE_OPTIONS_VOLUME,
    NO_TOKEN_VOLUME,
    STORE_VOLUME,
];

/// Where an application container sees its own dumps, and the agent those of all containers.
pub const DUMPS_PATH: &str = "/heapship/dumps";
/// Where the tools volume is mounted.
pub const TOOLS_PATH: &str = "/heapship/tools";
/// Where env files of an image's own options are written, one for each container that reads them.
pub const IMAGE_OPTIONS_PATH: &str = "/heapship/image-options";
/// Where the agent sees a volume of the application's own that holds the dumps of one of its containers.
pub const FOREIGN_PATH: &str = "/heapship/foreign";
/// The agent's executable in our image.
pub const AGENT_IN_IMAGE: &str = "/bin/heapship-agent";
/// The agent's executable in the tools volume.
pub const AGENT_IN_TOOLS: &str = "/heapship/tools/heapship-agent";
/// File of CA roots beside the agent's executable, in our image and in the tools volume: many application images have none.
pub const ROOTS: &str = "ca-certificates.crt";
/// Where a service account's token is mounted by the API server unless something is mounted there already.
pub const SERVICE_ACCOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The image used unless the policy names another one.
pub const DEFAULT_IMAGE: &str = concat!("ghcr.io/heapship/heapship:", env!("CARGO_PKG_VERSION"));

/// Entry of a JVM's own variable that the kubelet resolves, renamed; see `inject::environment`.
pub const ORIGINAL_OPTIONS_PREFIX: &str = "HEAPSHIP_ORIGINAL_";

/// Variables by which the injected agent is told its task. `heapship-agent ship --help` shows the same names.
pub mod variable {
    /// Key values of `{cluster}`, `{namespace}`, `{pod}`: text.
    pub const CLUSTER: &str = "HEAPSHIP_CLUSTER";
    /// See [`CLUSTER`].
    pub const NAMESPACE: &str = "HEAPSHIP_NAMESPACE";
    /// See [`CLUSTER`].
    pub const POD: &str = "HEAPSHIP_POD";
    /// The pod's UID.
    pub const POD_UID: &str = "HEAPSHIP_POD_UID";
    /// The pod's first IP, for an httpGet hook that the toolbox carries out.
    pub const POD_IP: &str = "HEAPSHIP_POD_IP";
    /// The node's name.
    pub const NODE: &str = "HEAPSHIP_NODE";
    /// Workload that owns the pod, `Kind/name`, or empty for a bare pod.
    pub const WORKLOAD: &str = "HEAPSHIP_WORKLOAD";
    /// JSON list of the containers whose dumps this agent ships; see `ship::Source`.
    pub const CONTAINERS: &str = "HEAPSHIP_CONTAINERS";
    /// Directory of dumps.
    pub const DUMPS: &str = "HEAPSHIP_DUMPS";
    /// Directory of a claim that pods share, where each has a folder.
    pub const CLAIM: &str = "HEAPSHIP_CLAIM";
    /// URL of the store.
    pub const DESTINATION: &str = "HEAPSHIP_DESTINATION";
    /// Template of the object key.
    pub const KEY_TEMPLATE: &str = "HEAPSHIP_KEY_TEMPLATE";
    /// `gzip`, `zstd` or `none`.
    pub const COMPRESSION: &str = "HEAPSHIP_COMPRESSION";
    /// Uploads per pod in 24 hours.
    pub const MAX_DUMPS: &str = "HEAPSHIP_MAX_DUMPS";
    /// The store's endpoint where it is not the cloud's own.
    pub const STORE_ENDPOINT: &str = "HEAPSHIP_STORE_ENDPOINT";
    /// The store's region.
    pub const STORE_REGION: &str = "HEAPSHIP_STORE_REGION";
    /// PEM text of a private CA that signed the store's certificate.
    pub const STORE_CA: &str = "HEAPSHIP_STORE_CA";
    /// `true` lets the store's endpoint be plain HTTP.
    pub const STORE_ALLOW_HTTP: &str = "HEAPSHIP_STORE_ALLOW_HTTP";
    /// What the store verifies parts by: `crc64nvme`, `sha256` or `none`.
    pub const STORE_CHECKSUM: &str = "HEAPSHIP_STORE_CHECKSUM";
    /// Variables that the image's own `ENV` may set and the pod's replace, separated by commas: an agent that runs from that
    /// image sees them, and reports them.
    pub const REPLACED_OPTIONS: &str = "HEAPSHIP_REPLACED_OPTIONS";
    /// Env files that hold the image's own options, separated by commas: made by the tools' container, written by the one
    /// that runs from the image.
    pub const ENV_FILES: &str = "HEAPSHIP_ENV_FILES";
    /// What is written there: names of variables, separated by commas.
    pub const IMAGE_VARIABLES: &str = "HEAPSHIP_IMAGE_VARIABLES";
    /// `true` where another webhook took the agent's `restartPolicy` away: it has to find out whether it is a sidecar.
    pub const PROVE_SIDECAR: &str = "HEAPSHIP_PROVE_SIDECAR";
}

/// Sidecars of other injectors: never chosen unless they are named.
///
/// Names as the injectors of Istio, Linkerd, Vault, Cilium, Dapr, Consul, Kuma, Datadog, OpenTelemetry, AWS App Mesh,
/// Cloud SQL, GCS FUSE and Azure write them.
pub const KNOWN_SIDECARS: &[&str] = &[
    "istio-proxy",
    "linkerd-proxy",
    "vault-agent",
    "cilium-envoy",
    "daprd",
    "consul-dataplane",
    "kuma-sidecar",
    "datadog-agent",
    "otc-container",
    "envoy",
    "xray-daemon",
    "cloud-sql-proxy",
    "gke-gcsfuse-sidecar",
    "azwi-proxy",
    "jaeger-agent",
    "queue-proxy",
    "fluent-bit",
    "filebeat",
];
