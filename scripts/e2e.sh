#!/usr/bin/env bash
# The suite on a real Kubernetes: installs what it takes, builds (with caches), starts a cluster, runs, and removes the
# cluster, also after a failure or Ctrl-C. Ends with the seconds of each step.
#
# usage: scripts/e2e.sh [FILTER…]     the tests whose names contain a filter, or all
#        scripts/e2e.sh named         only the part that `make test` runs; a machine that cannot is then no failure
# HEAPSHIP_E2E_KEEP=1 leaves the cluster up, and the next run finds it.
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=tests/cluster/cluster.sh
# Not the one that `make cluster` started: somebody works there.
export HEAPSHIP_CLUSTER=${HEAPSHIP_CLUSTER:-heapship-e2e}
# What the named part needs; no names mean all.
named=no modules=() families=()
if [[ "$*" == named ]]; then
    named=yes modules=(kube containerd coredns) families=(jvm-17 s3)
    set -- --exact \
        shipping::each_out_of_memory_error_of_a_deployment_is_a_dump_in_the_bucket \
        termination::a_healthy_jvm_without_a_hook_is_dumped_before_its_pod_is_gone \
        users::a_restricted_namespace_takes_an_image_whose_user_nobody_states
fi
times=()

refuse() {
    printf 'NOT RUN: the cluster suite: %s\n' "$1" >&2
    [[ $named == yes ]]
    exit
}

# WHAT COMMAND…
step() {
    local what=$1 begun=$SECONDS status=0
    shift
    printf '\n== %s\n' "$what" >&2
    "$@" || status=$?
    times+=("$(printf '%5d s  %s' $((SECONDS - begun)) "$what")")
    return "$status"
}

finish() {
    local status=$?
    trap '' INT TERM
    trap - EXIT
    "$cluster" run sh -c 'cat "$HEAPSHIP_E2E_STATE/figures.txt"' 2>/dev/null || true
    [[ $named == no ]] || echo "left to make e2e: the rest of the cluster suite" >&2
    if [[ -n ${HEAPSHIP_E2E_KEEP:-} ]]; then
        echo "the cluster stays up: HEAPSHIP_CLUSTER=$HEAPSHIP_CLUSTER $cluster run kubectl get pods -A; then the same with down" >&2
    else
        step "cluster down" "$cluster" down || { status=$?; echo "e2e: the cluster could not be removed" >&2; }
    fi
    rm -f "${log:-}"
    printf '\n' >&2
    printf '%s\n' "${times[@]}" "$(printf '%5d s  in all' "$SECONDS")" >&2
    exit "$status"
}

load_images() {
    local archives
    archives=$(tests/cluster/images.sh "${families[@]}") || return
    # shellcheck disable=SC2086 # The paths are our own.
    "$cluster" load "${CARGO_TARGET_DIR:-target}/image/heapship.tar" $archives
}

[[ $(id -u) == 0 ]] || refuse "it takes root: network, mounts and cgroups of a node"
step "packages and tools" scripts/setup.sh e2e || refuse "something is missing and cannot be installed, see above"
reason=$("$cluster" check 2>&1) || refuse "${reason#cluster: }"

# Asked after set-up, which installs what a feature needs.
suite=(cargo test --locked --features "$(scripts/features.sh)" --test cluster)
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
step "executables of the cluster" "$cluster" build "${modules[@]}"
step "image" env IMAGE_PROFILE="${IMAGE_PROFILE:-ci}" scripts/image.sh
step "compiling the suite" "${suite[@]}" --no-run
step "cluster up" "$cluster" up
step "images into the cluster" load_images
log=$(mktemp)
suite_in_the_cluster() {
    "$cluster" run "${suite[@]}" --offline -- --test-threads="${HEAPSHIP_E2E_THREADS:-4}" "$@" 2>&1 | tee "$log"
    # A name that nothing bears is no success.
    grep -q '^test result: ok. [1-9]' "$log" || { echo "e2e: no test ran" >&2; return 1; }
}
step "the suite" suite_in_the_cluster "$@"
