#!/usr/bin/env bash
# Builds the container image without a container daemon, as an OCI archive: target/image/heapship.tar.
# docker load, podman load, skopeo copy oci-archive:… and ctr images import read it. The same sources give the same bytes.
#
# usage: scripts/image.sh
# IMAGE_PROFILE=ci makes it fast to build, for tests; the default is release.
set -euo pipefail
cd "$(dirname "$0")/.."
LIMIT=25000000
folder=${CARGO_TARGET_DIR:-target}/image
archive=$folder/heapship.tar

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
description=$(sed -n 's/^description = "\(.*\)"/\1/p' Cargo.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# Not for cargo: the build scripts of C libraries would run anew with each commit.
date=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

rm -rf "$folder/root"
scripts/image-root.sh "$folder/root"
cat >"$folder/spec.json" <<JSON
{
  "images": [{
    "name": "ghcr.io/heapship/heapship:$version",
    "layers": ["$folder/root"],
    "config": {
      "User": "65532:65532",
      "Entrypoint": ["/bin/heapship"],
      "WorkingDir": "/",
      "Labels": {
        "org.opencontainers.image.title": "heapship",
        "org.opencontainers.image.description": "$description",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": "$version",
        "org.opencontainers.image.revision": "$revision"
      }
    }
  }]
}
JSON
SOURCE_DATE_EPOCH=$date scripts/image-archive.py "$archive" "$folder/spec.json"
size=$(stat --format %s "$archive")
printf 'image: %s, %d.%d MB compressed\n' "$archive" $((size / 1000000)) $((size / 100000 % 10))
((size < LIMIT)) || { echo "image: more than $((LIMIT / 1000000)) MB: what has grown?" >&2; exit 1; }
