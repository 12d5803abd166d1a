#!/usr/bin/env bash
# What people run today to save heap dumps, as a baseline: wait until a file is closed, gzip it, copy it to the store.
# With --once it ends after the first dump.
#
# usage: scripts/blog-pipeline.sh DIR s3://BUCKET/PREFIX [--once]
# AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_CA_BUNDLE as the clients read them.
set -euo pipefail
folder=$1 destination=${2%/} once=${3:-}

copy() {
    if command -v aws >/dev/null; then
        aws s3 cp --only-show-errors "$1" "$2"
    else
        S3_ENDPOINT_URL=${AWS_ENDPOINT_URL:-} s5cmd cp "$1" "$2"
    fi
}

coproc watch { exec inotifywait --monitor --event close_write --format '%w%f' "$folder" 2>&1; }
trap 'kill "$watch_PID" 2>/dev/null || true; wait' EXIT
while read -r -u "${watch[0]}" line; do
    case $line in
    "Watches established.") echo watching ;;
    # What gzip wrote.
    *.gz) ;;
    "$folder"*)
        # -f: the benchmark links its dump into the folder, and gzip would leave a file with two names alone.
        gzip -f "$line"
        copy "$line.gz" "$destination/${line##*/}.gz"
        [[ -z $once ]] || break
        ;;
    esac
done
