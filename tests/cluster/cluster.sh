#!/usr/bin/env bash
# A real Kubernetes of one node (kube-apiserver, controller-manager, scheduler, kubelet, kube-proxy, etcd, CoreDNS,
# containerd, runc) on a machine without a container registry and without systemd, in seconds and without a trace.
#
# All of it lives in namespaces of its own for network, mounts and processes, whose first process is `init`: the machine's
# ports, routes, firewall and mounts stay as they are, several clusters run side by side, and when `init` dies the kernel
# ends everything. What is left then is a folder and some empty cgroups.
#
#   cluster.sh build [NAME…]     build the executables, those that changed (10 minutes when nothing is cached)
#   cluster.sh up                start it, or find it up; prints the path of the administrator's kubeconfig
#   cluster.sh load ARCHIVE…     import images (OCI archives)
#   cluster.sh run COMMAND…      run a command in the cluster's network: with KUBECONFIG, kubectl and helm in the PATH,
#                                HEAPSHIP_E2E_STATE (the cluster's folder) and HEAPSHIP_E2E_BIN (the executables)
#   cluster.sh node COMMAND…     run a command on the node: its mounts, its processes, its containerd
#   cluster.sh check             say what this machine lacks for it, if anything; exit code 1 then
#   cluster.sh down              stop it and remove all of it, also what a failed `up` left
#
# HEAPSHIP_CLUSTER is its name (heapship). For root, with Debian's packages runc, containernetworking-plugins,
# nftables, iproute2, openssl, python3, gcc and a Go of version 1.21 or newer.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/build.sh"

NAME=${HEAPSHIP_CLUSTER:-heapship}
CLUSTERS=/var/tmp/heapship-clusters
STATE=$CLUSTERS/$NAME
CGROUP=heapship-clusters/$NAME
# Beside the pods' range in node/10-pods.conflist. CoreDNS answers there too.
NODE_IP=10.200.255.1
SERVICES=10.96.0.0/20 FIRST_SERVICE=10.96.0.1
COMPONENTS=(containerd etcd apiserver manager scheduler dns kubelet proxy)

say() { printf 'cluster: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# The node's first process, as the machine sees it. By its command line, which holds the cluster's folder: a file with a
# pid would be missing after an `up` that was killed, and be somebody else's pid next week.
init_pid() { pgrep -xf "$STATE/bin/init"; }

node() {
    local pid
    pid=$(init_pid) || fail "$NAME is not up: call cluster.sh up"
    nsenter --target "$pid" --net --mount --pid --ipc --uts -- env PATH="$BIN:$PATH" "$@"
}

run() {
    local pid
    pid=$(init_pid) || fail "$NAME is not up: call cluster.sh up"
    exec nsenter --target "$pid" --net -- env PATH="$BIN:$PATH" KUBECONFIG="$STATE/admin.kubeconfig" \
        HEAPSHIP_CLUSTER="$NAME" HEAPSHIP_E2E_STATE="$STATE" HEAPSHIP_E2E_BIN="$BIN" "$@"
}

# NAME COMMAND…: in the background, as a child of the node's first process.
start() {
    local name=$1
    shift
    node setsid --fork "$@" >"$STATE/log/$name.log" 2>&1 </dev/null
}

kubectl() { node kubectl --kubeconfig /run/cluster/admin.kubeconfig "$@"; }

# SECONDS WHAT COMMAND…
wait_for() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || { say "$what: not in time"; return 1; }
        sleep 0.1
    done
}

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }

# NAME SUBJECT [SUBJECT-ALTERNATIVE-NAMES]
certificate() {
    local base=$STATE/pki/$1
    key "$base.key"
    openssl req -new -key "$base.key" -subj "$2" -out "$base.csr"
    openssl x509 -req -in "$base.csr" -CA "$STATE/pki/ca.crt" -CAkey "$STATE/pki/ca.key" -CAcreateserial -days 30 \
        -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth' "${3:-DNS:$1}") -out "$base.crt" 2>/dev/null
}

# Whole in itself, so that it is the same inside and outside of the node.
kubeconfig() {
    local base=$STATE/pki/$1
    cat >"$STATE/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: $NAME
contexts: [{name: $NAME, context: {cluster: $NAME, user: $1}}]
clusters:
  - name: $NAME
    cluster: {server: "https://$NODE_IP:6443", certificate-authority-data: $(base64 -w 0 "$STATE/pki/ca.crt")}
users:
  - name: $1
    user: {client-certificate-data: $(base64 -w 0 "$base.crt"), client-key-data: $(base64 -w 0 "$base.key")}
YAML
}

identities() {
    mkdir -p "$STATE/pki"
    key "$STATE/pki/ca.key"
    openssl req -x509 -new -key "$STATE/pki/ca.key" -subj "/CN=$NAME" -days 30 -out "$STATE/pki/ca.crt"
    key "$STATE/pki/service-accounts.key"
    openssl pkey -in "$STATE/pki/service-accounts.key" -pubout -out "$STATE/pki/service-accounts.pub"
    certificate apiserver /CN=kube-apiserver "IP:$NODE_IP,IP:$FIRST_SERVICE,IP:127.0.0.1,DNS:kubernetes.default.svc"
    certificate kubelet /O=system:nodes/CN=system:node:node "DNS:node,IP:$NODE_IP"
    # The kubelet asks the API server whether its caller may; the API server's own identity has to be somebody who may.
    certificate kubelet-client /O=system:masters/CN=kubelet-client
    certificate admin /O=system:masters/CN=admin
    certificate manager /CN=system:kube-controller-manager
    certificate scheduler /CN=system:kube-scheduler
    certificate proxy /CN=system:kube-proxy
    certificate dns /O=system:masters/CN=dns
    local name
    for name in kubelet admin manager scheduler proxy dns; do kubeconfig $name; done
}

# The kubelet wants its root to exist. Version 1 has a hierarchy for each controller below /sys/fs/cgroup, version 2 one
# for all, there.
make_cgroups() {
    local hierarchy parent folder part
    for hierarchy in $(cgroup_hierarchies); do
        parent=$hierarchy
        for part in ${CGROUP//\// }; do
            folder=$parent/$part
            mkdir -p "$folder"
            case $hierarchy in
            /sys/fs/cgroup) hand_down "$parent" ;;
            *) copy_cpuset "$parent" "$folder" ;;
            esac
            parent=$folder
        done
    done
}

# Version 2: a group has the controllers that its parent hands down. One at a time, since one refusal would refuse all.
hand_down() {
    local controller
    for controller in $(cat "$1/cgroup.controllers"); do
        echo "+$controller" >"$1/cgroup.subtree_control" 2>/dev/null || true
    done
}

# Version 1: a new group has no processors and no memory, and lets no process in.
copy_cpuset() {
    local set
    for set in cpuset.cpus cpuset.mems; do
        [[ ! -f $2/$set || -n $(cat "$2/$set") ]] || cat "$1/$set" >"$2/$set"
    done
}

cgroup_hierarchies() {
    awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts
}

remove_cgroups() {
    local hierarchy
    for hierarchy in $(cgroup_hierarchies); do
        [[ ! -d $hierarchy/$CGROUP ]] || find "$hierarchy/$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || return 1
        rmdir "$hierarchy/${CGROUP%/*}" 2>/dev/null || true
    done
}

# Runs on the node before all else. Its mounts end with it. The places where a node's programs write by habit become
# folders of this cluster, and /run is empty.
prepare_node() {
    mount --make-rshared /
    mount -t tmpfs -o mode=755 run /run
    mkdir /run/cluster
    mount --bind "$STATE" /run/cluster
    local folder
    for folder in lib log; do
        mkdir -p "$STATE/$folder"
        mount --bind "$STATE/$folder" /var/$folder
    done
    mkdir -p /run/cluster/cni
    cp "$here/node/10-pods.conflist" /run/cluster/cni/
    ip link set lo up
    # On the loopback device: every pod has a route of its own to it, and there is no other network.
    ip address add "$NODE_IP/32" dev lo
    # The node's own calls of a Service, the API server's of a webhook for one, need a route before kube-proxy redirects them.
    ip route add $SERVICES dev lo src $NODE_IP
    echo 1 >/proc/sys/net/ipv4/ip_forward
    hostname node
}

start_node() {
    mkdir -p "$STATE/bin" "$STATE/log"
    gcc -O2 -static -o "$STATE/bin/init" "$here/node/init.c"
    make_cgroups
    setsid unshare --net --mount --pid --ipc --uts --fork --kill-child=KILL --mount-proc \
        "$STATE/bin/init" >"$STATE/log/init.log" 2>&1 </dev/null &
    wait_for 10 "the node's first process" init_pid
    node "$here/cluster.sh" prepare_node
}

pause_image() {
    local work=$STATE/pause
    mkdir -p "$work/root"
    cp "$STATE/bin/init" "$work/root/pause"
    cat >"$work/spec.json" <<JSON
{"level": 1, "images": [{"name": "localhost/pause:1", "layers": ["$work/root"], "config": {"Entrypoint": ["/pause"], "User": "65535"}}]}
JSON
    "$here/../../scripts/image-archive.py" "$work/pause.tar" "$work/spec.json"
    load "$work/pause.tar"
    rm -r "$work"
}

load() {
    local archive said
    for archive in "$@"; do
        # On success it says what nobody needs, on both outputs.
        said=$(node ctr --namespace k8s.io images import - <"$archive" 2>&1) || fail "cannot load $archive: $said"
    done
}

start_components() {
    local pki=/run/cluster/pki
    start containerd containerd --config "$here/node/containerd.toml"
    # Its data is thrown away: no need to wait for a disk.
    start etcd etcd --data-dir /run/cluster/etcd --unsafe-no-fsync --log-level warn
    start apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --advertise-address=$NODE_IP \
        --service-cluster-ip-range=$SERVICES --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
        --allow-privileged=true --client-ca-file=$pki/ca.crt \
        --requestheader-client-ca-file=$pki/ca.crt --requestheader-allowed-names=front-proxy \
        --tls-cert-file=$pki/apiserver.crt --tls-private-key-file=$pki/apiserver.key \
        --service-account-issuer=https://kubernetes.default.svc.cluster.local \
        --service-account-key-file=$pki/service-accounts.pub --service-account-signing-key-file=$pki/service-accounts.key \
        --kubelet-preferred-address-types=InternalIP --kubelet-certificate-authority=$pki/ca.crt \
        --kubelet-client-certificate=$pki/kubelet-client.crt --kubelet-client-key=$pki/kubelet-client.key \
        --audit-policy-file="$here/node/audit.yaml" --audit-log-path=/run/cluster/audit.log
    wait_for 20 containerd node test -S /run/containerd/containerd.sock
    pause_image
    wait_for 60 kube-apiserver kubectl get --raw /readyz
    start manager kube-controller-manager --kubeconfig=/run/cluster/manager.kubeconfig --leader-elect=false \
        --service-account-private-key-file=$pki/service-accounts.key --root-ca-file=$pki/ca.crt \
        --use-service-account-credentials --cluster-signing-cert-file=$pki/ca.crt --cluster-signing-key-file=$pki/ca.key \
        --flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins --kube-api-qps=100 --kube-api-burst=200
    start scheduler kube-scheduler --kubeconfig=/run/cluster/scheduler.kubeconfig --leader-elect=false \
        --authentication-kubeconfig=/run/cluster/scheduler.kubeconfig \
        --authorization-kubeconfig=/run/cluster/scheduler.kubeconfig --kube-api-qps=100 --kube-api-burst=200
    start dns coredns -conf "$here/node/Corefile"
    start kubelet kubelet --kubeconfig=/run/cluster/kubelet.kubeconfig --config="$here/node/kubelet.yaml" \
        --hostname-override=node --node-ip=$NODE_IP --cgroup-root="/$CGROUP"
    start proxy kube-proxy --config="$here/node/proxy.yaml"
    wait_for 60 "the node" ready
}

ready() {
    kubectl wait --for=condition=Ready node/node --timeout=1s && kubectl get --namespace default serviceaccount default
}

up() {
    if init_pid >/dev/null && ready >/dev/null 2>&1; then
        say "$NAME is up"
    else
        check
        build "${NODE_MODULES[@]}"
        down
        trap 'explain_failure; down' EXIT
        trap 'exit 130' INT TERM
        identities
        start_node
        start_components
        trap - EXIT INT TERM
        say "$NAME is up after $SECONDS s"
    fi
    echo "$STATE/admin.kubeconfig"
}

explain_failure() {
    local name
    for name in "${COMPONENTS[@]}"; do
        [[ ! -s $STATE/log/$name.log ]] || tail -n 3 "$STATE/log/$name.log" | cut -c -300 | sed "s/^/$name: /" >&2
    done
}

# Every process of the node ends with its first, and with them its mounts and its network; `unshare` ends after all of them.
down() {
    local pid
    if pid=$(init_pid || starter_pid); then kill -KILL "$pid" || true; fi
    wait_for 30 "the end of the node's processes" gone
    rm -rf "$STATE"
    rmdir "$CLUSTERS" 2>/dev/null || true
}

starter_pid() { pgrep -xf "unshare .* $STATE/bin/init"; }

gone() { ! init_pid && ! starter_pid && remove_cgroups; }

check() {
    local program
    [[ $(id -u) == 0 ]] || fail "not root"
    for program in runc nft ip openssl python3 gcc pgrep nsenter unshare setsid; do
        command -v "$program" >/dev/null || fail "no $program: scripts/setup.sh e2e installs it"
    done
    [[ -x /usr/lib/cni/ptp ]] || fail "no /usr/lib/cni/ptp: scripts/setup.sh e2e installs containernetworking-plugins"
    grep -qE ' cgroup2? ' /proc/mounts || fail "no cgroups are mounted"
    unshare --net --mount --pid --fork true 2>/dev/null || fail "this machine does not allow namespaces (unshare)"
    check_build
}

case "${1:-}" in
build | up | down | check | load | run | node | build_module | prepare_node) "$@" ;;
*)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
    ;;
esac; exit # On one line, so that bash reads no further: somebody may edit this file while a cluster builds.
