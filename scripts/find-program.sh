#!/usr/bin/env bash
# Prints the path of helm or kubectl: the one that $HELM or $KUBECTL names, the one on the PATH, or the one that was built
# for the test cluster. Exit code 3: there is none.
#
# usage: scripts/find-program.sh helm|kubectl
set -euo pipefail
name=$1 variable=${1^^}
bin=${XDG_CACHE_HOME:-$HOME/.cache}/heapship-cluster/bin
for candidate in "${!variable:-}" "$(command -v "$name" || true)" "$bin/$name"; do
    if [[ -n $candidate && -x $candidate ]]; then
        echo "$candidate"
        exit 0
    fi
done
echo "no $name: install it, set $variable, or build the test cluster's" >&2
exit 3
