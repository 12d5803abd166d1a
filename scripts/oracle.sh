#!/usr/bin/env bash
# Opens a heap dump with a parser that is not ours, the one of NetBeans and VisualVM, and prints the biggest classes in it:
# class, instances, bytes. Needs a JDK of 11 or newer, and Maven the first time. Exit code 3: one of them is missing.
#
# usage: scripts/oracle.sh DUMP [HOW_MANY]      DUMP may be gzipped
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
artifact=org.netbeans.modules:org-netbeans-lib-profiler:RELEASE250
folder=$root/.tools/hprof-oracle
jar=$folder/org-netbeans-lib-profiler-RELEASE250.jar

if [[ $# -lt 1 || ! -r $1 ]]; then
    echo "usage: scripts/oracle.sh DUMP [HOW_MANY]" >&2
    exit 2
fi
missing() { echo "oracle: $*" >&2; exit 3; }

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
"$java" --list-modules 2>/dev/null | grep -q '^jdk.compiler@' || missing "no JDK of 11 or newer: install one or set JAVA_HOME"
if [[ ! -f $jar ]]; then
    command -v mvn >/dev/null || missing "Maven is needed once, to fetch $artifact"
    # Two tests may come here at once: each fetches into a folder of its own, and the last rename wins.
    mkdir -p "$folder"
    fresh=$(mktemp -d "$folder/fetch.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    mvn -q -B -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
        "-Dartifact=$artifact" "-DoutputDirectory=$fresh" >&2 || missing "Maven could not fetch $artifact"
    mv -f "$fresh/${jar##*/}" "$jar"
fi

# The parser knows no gzip, and leaves a cache beside the dump that it takes for the next dump of the same name.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch" ${fresh:+"$fresh"}' EXIT
if [[ $(head -c 2 "$1" | od -An -tx1) == " 1f 8b" ]]; then
    gzip -dc <"$1" >"$scratch/dump.hprof"
else
    ln -s "$(realpath "$1")" "$scratch/dump.hprof"
fi
# The dump's own variables are not for this JVM.
env -u JAVA_TOOL_OPTIONS -u _JAVA_OPTIONS -u JDK_JAVA_OPTIONS \
    "$java" -cp "$jar" "$root/tests/support/oracle/Oracle.java" "$scratch/dump.hprof" ${2:+"$2"}
