#!/usr/bin/env bash
# A file is one idea: none has more than 600 lines, its tests included.
set -euo pipefail
cd "$(dirname "$0")/.."
limit=600

long=$(git ls-files --cached --others --exclude-standard '*.rs' '*.sh' '*.java' | xargs -r wc -l |
    awk -v limit=$limit '$2 != "total" && $1 > limit { print $2 " has " $1 " lines" }')
if [[ -n $long ]]; then
    echo "$long" >&2
    echo "split by idea what has more than $limit lines" >&2
    exit 1
fi
