#!/usr/bin/env bash
# Prints the cargo features of this machine. One place decides, so that lint, test and demo compile the same thing.
set -euo pipefail

# ISA-L is assembly for x86_64 and builds with nasm and the autotools; without it libdeflate compresses at half the speed.
[[ "$(uname -m)" == x86_64 ]] || exit 0
for program in nasm autoconf automake libtoolize; do
    command -v "$program" >/dev/null || exit 0
done
echo isal
