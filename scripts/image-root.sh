#!/usr/bin/env bash
# Fills a folder with the files of the container image: the two executables, static, and the CA roots.
# `make image` and the Dockerfile both call it, so that both make the same image.
#
# usage: scripts/image-root.sh FOLDER
# IMAGE_PROFILE is the cargo profile: release (default), or ci, which compiles faster.
# CARGO_FLAGS is added to cargo's own, for example --offline.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$1 profile=${IMAGE_PROFILE:-release}
target=$(uname -m)-unknown-linux-gnu

fail() { printf 'image: %s\n' "$*" >&2; exit 1; }

# An application's image has a C library of its own version, or none.
export RUSTFLAGS="-C target-feature=+crt-static"
# shellcheck disable=SC2086
cargo build --locked ${CARGO_FLAGS:-} --profile "$profile" --target "$target" --bins --features "$(scripts/features.sh)"

# Not at the top: /heapship is where volumes are mounted.
mkdir -p "$root/bin"
for name in heapship heapship-agent; do
    built=${CARGO_TARGET_DIR:-target}/$target/$profile/$name
    program_headers=$(readelf --program-headers --wide "$built")
    ! grep -q INTERP <<<"$program_headers" || fail "$name is not static: it asks for a dynamic loader"
    install -m 755 "$built" "$root/bin/$name"
done

# The distribution's package alone: what this machine's administrator trusts besides is nobody else's business.
roots=(/usr/share/ca-certificates/mozilla/*.crt)
[[ -e ${roots[0]} ]] || fail "no CA roots in /usr/share/ca-certificates/mozilla: install ca-certificates"
cat "${roots[@]}" >"$root/bin/ca-certificates.crt"
chmod 644 "$root/bin/ca-certificates.crt"
