#!/usr/bin/env bash
# Prints the path of helm: $HELM, the one on the PATH, or the one that was built for the test cluster.
set -euo pipefail
bin=${XDG_CACHE_HOME:-$HOME/.cache}/heapship-cluster/bin
for candidate in "${HELM:-}" "$(command -v helm || true)" "$bin/helm"; do
    if [[ -n $candidate && -x $candidate ]]; then
        echo "$candidate"
        exit 0
    fi
done
echo "no helm: install it (https://helm.sh), or set HELM" >&2
exit 3
