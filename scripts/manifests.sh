#!/usr/bin/env bash
# Renders the files of the kustomize base, overlays and components from the Helm chart, which is the one truth. What is not
# rendered there: the kustomization.yaml files and the Namespace, which Helm makes by --create-namespace.
#
# usage: scripts/manifests.sh [FOLDER]      FOLDER in place of the repository, for a comparison
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root}
helm=$("$root/scripts/find-program.sh" helm)
# A helm that was built without its release flags takes the cluster for an old one.
newest=1.36.0

# render FOLDER TEMPLATE VALUE...: writes what the template gives with these values, without Helm's own comment
render() {
    local folder=$out/$1 template=$2 value
    shift 2
    local values=()
    for value in "$@"; do values+=(--set "$value"); done
    mkdir -p "$folder"
    {
        echo "# Rendered from manifests/chart/templates/$template: make manifests"
        "$helm" template heapship "$root/manifests/chart" --namespace heapship-system --kube-version "$newest" --no-hooks \
            --show-only "templates/$template" "${values[@]}" | grep -v '^# Source: ' | sed '1{/^---$/d}'
    } >"$folder/${template##*/}"
}

base=(service-account policies permissions people service deployment disruption-budget quota network-policy registration)
for name in "${base[@]}"; do render manifests/base "$name.yaml"; done
render manifests/overlays/self-managed certificates.yaml
render certs/cert-manager certificates.yaml certificates.mode=cert-manager
render manifests/components/injection-audit injection-audit.yaml
for name in service-monitor rules dashboard; do
    render manifests/components/monitoring "monitoring/$name.yaml" monitoring.enabled=true
done
