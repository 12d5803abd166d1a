#!/usr/bin/env bash
# Mutation testing of the pure core: a sample of its mutants against the unit tests alone, and the share that is caught.
#   MUTANTS=300        how many are drawn
#   MUTANTS_SEED=1     which: the draw goes by the names of mutants, so that it hardly moves when code moves
# .cargo/mutants.toml says what is mutated, and what is left out for which reason.
set -euo pipefail
cd "$(dirname "$0")/.."

count=${MUTANTS:-300} seed=${MUTANTS_SEED:-1}
work=$PWD/target/mutants
tree=$work/tree
cargo_mutants=$PWD/.tools/bin/cargo-mutants

# A copy that is built in place, so that a mutant costs one incremental build of one crate.
rm -rf "$tree" "$work/mutants.out"
mkdir -p "$tree"
# Touched: with the times of the files cargo would take an older build for theirs.
git ls-files -z --cached --others --exclude-standard |
    tar --create --null --files-from - | tar --extract --touch --directory "$tree"
# What only the integration tests and benchmarks need takes minutes to compile.
sed -i '/^\[dev-dependencies\]/,/^\[/ { /^\(axum-server\|criterion\|hyper\|kube\|s3s\|s3s-fs\) = /d }' "$tree/Cargo.toml"

export CARGO_TARGET_DIR=$work/build CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=1 RUST_BACKTRACE=0
# The same generated pods for every mutant, few of them, and no search for a smaller one that fails too.
export PROPTEST_RNG_SEED=$seed PROPTEST_CASES=64 PROPTEST_MAX_SHRINK_ITERS=0

list() { "$cargo_mutants" mutants --dir "$tree" --list "$@"; }

# Names without their lines, counted where they repeat, are ordered by hash; the first of them are the sample.
drawn=$(paste -d '\t' <(list --line-col=false) <(list) | python3 -c '
import collections, hashlib, sys
seed, count = sys.argv[1:]
seen, drawn = collections.Counter(), []
for line in sys.stdin:
    name, at = line.rstrip("\n").split("\t")
    seen[name] += 1
    drawn.append((hashlib.sha256(f"{seed} {name} {seen[name]}".encode()).digest(), at))
for _, at in sorted(drawn)[: int(count)]:
    print(at)
' "$seed" "$count")

status=0
begun=$SECONDS
# Every name is matched as it stands. The few mutants that delete a field come on top: version 27 does not filter those.
"$cargo_mutants" mutants --dir "$tree" --in-place --output "$work" --colors never \
    --re "^($(sed 's/[][\\.*^$+?(){}|]/\\&/g' <<<"$drawn" | paste -s -d '|'))\$" || status=$?
# 2: some were missed; 3: some ran out of time. Both are results.
((status == 0 || status == 2 || status == 3)) || exit "$status"

of() { wc -l <"$work/mutants.out/$1.txt"; }
caught=$(($(of caught) + $(of timeout))) missed=$(of missed)
echo
echo "survivors:"
cat "$work/mutants.out/missed.txt"
awk -v caught="$caught" -v missed="$missed" -v unviable="$(of unviable)" -v seed="$seed" -v seconds=$((SECONDS - begun)) 'BEGIN {
    printf "%d of %d mutants caught: %.1f %% (seed %s; %d more do not compile), in %d s\n",
        caught, caught + missed, 100 * caught / (caught + missed), seed, unviable, seconds
}'
