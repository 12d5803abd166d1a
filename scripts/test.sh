#!/usr/bin/env bash
# Runs all tests and ends with one line of counts, and with what this machine could not run.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
begun=$SECONDS
status=0
cargo test --locked --features "$(scripts/features.sh)" "$@" 2>&1 | tee "$log" || status=$?

# On a real Kubernetes: one dump of each kind. The rest of that suite is `make e2e`.
(($#)) || scripts/e2e.sh named 2>&1 | tee -a "$log" || status=$?

echo
grep -h '^NOT RUN' "$log" | sort -u || true
awk -v seconds=$((SECONDS - begun)) '
    /^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END { printf "%d tests passed, %d failed, %d ignored, in %d s with the build\n", passed, failed, ignored, seconds }
' "$log"
exit "$status"
