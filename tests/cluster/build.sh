# Builds the executables of the cluster. Sourced by cluster.sh.
#
# Each is made from a Go module beside this file, whose go.sum says what is in it. They are kept in one folder for all
# clusters and clones of this machine, with a digest of what they were made from; the same sources are not built twice.

BIN=${HEAPSHIP_CLUSTER_BIN:-${XDG_CACHE_HOME:-$HOME/.cache}/heapship-cluster/bin}
KUBERNETES=1.36.3
CONTAINERD=2.3.7
# What a cluster cannot do without, and all.
NODE_MODULES=(kube containerd coredns)
MODULES=("${NODE_MODULES[@]}" certmanager helm)

# What `go build` is told beyond what all are told, and the packages.
build_arguments() {
    case $1 in
    kube)
        # Without it /version says 1.0, and clients take it at its word.
        local version=k8s.io/component-base/version
        arguments=(-ldflags "-s -w -X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=36" .)
        ;;
    containerd)
        local package=github.com/containerd/containerd/v2
        arguments=(-tags "no_btrfs no_devmapper no_zfs" -ldflags "-s -w -X $package/version.Version=$CONTAINERD"
            $package/cmd/containerd $package/cmd/containerd-shim-runc-v2 $package/cmd/ctr)
        ;;
    helm) arguments=(-ldflags "-s -w" helm.sh/helm/v3/cmd/helm) ;;
    *) arguments=(-ldflags "-s -w" .) ;;
    esac
}

build_module() {
    local module=$1 folder=$here/$1 digest begun=$SECONDS arguments work
    build_arguments "$module"
    digest=$({ cat "$folder"/*.go "$folder/go.mod" "$folder/go.sum"; echo "${arguments[@]}"; } | sha256sum)
    [[ $(cat "$BIN/.$module" 2>/dev/null) != "$digest" ]] || return 0
    say "building $module"
    # Beside the real ones until all are there: an interrupted build leaves what ran before.
    work=$BIN/.$module.new
    rm -rf "$work"
    mkdir -p "$work"
    CGO_ENABLED=0 nice go build -C "$folder" -trimpath -o "$work/" "${arguments[@]}" || fail "$module could not be built"
    case $module in
    kube) link_components "$work" ;;
    certmanager) resource_definitions "$work" ;;
    esac
    # By renaming: a cluster that is up may be running the old ones.
    mv -f "$work"/* "$BIN/"
    rm -rf "$work"
    echo "$digest" >"$BIN/.$module"
    say "built $module in $((SECONDS - begun)) s"
}

# One executable, called by several names.
link_components() {
    local name
    for name in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
        ln -s kube "$1/$name"
    done
}

# cert-manager's resource definitions, one file for kubectl.
resource_definitions() {
    local module
    module=$(go list -C "$folder" -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)
    cat "$module"/deploy/crds/*.yaml >"$1/certmanager-crds.yaml"
}

# The names, or all. Two at a time: where one links, which is the work of one core, the other compiles.
build() {
    local module
    (($#)) || set -- "${MODULES[@]}"
    check_build
    mkdir -p "$BIN"
    printf '%s\n' "$@" | xargs -P 2 -I{} "$here/cluster.sh" build_module {}
}

check_build() {
    local version
    version=$(go env GOVERSION 2>/dev/null) || fail "no Go: install version 1.21 or newer"
    # From 1.21 on, Go fetches the version that a module asks for.
    [[ $version =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 21)) || fail "$version is too old: install 1.21 or newer"
}
