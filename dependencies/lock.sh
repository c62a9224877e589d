#!/usr/bin/env bash
# `make lock`: makes every lock file anew from setup.py, those of all lines on whichever machine it runs.
#
#   bash dependencies/lock.sh UV        (uv's program)
#
# A version that a lock has stays where setup.py's ranges still allow it; remove the lock for the newest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
compile=("$1" pip compile --generate-hashes --no-header --no-emit-index-url --quiet)
universal=(--universal --fork-strategy fewest)  # one version of a package for all Pythons and systems, where there is one

list_of() { sed -n "s/^$1 = \[\(.*\)\]\$/\1/p" setup.py | tr -d '"' | sed 's/, m/\nm/g'; }

while IFS=$'\t' read -r line lock pythons _; do
  oldest=(--python-version "${pythons##* }")
  [ "$pythons" = "${pythons#* }" ] || oldest+=("${universal[@]}")
  "${compile[@]}" setup.py --extra pipeline --extra dev "${oldest[@]}" -o "$lock" </dev/null
  list_of TORCH | "${compile[@]}" - --constraint "$lock" "${oldest[@]}" -o "${lock/requirements/requirements-torch}"
  # NVIDIA's libraries, of the versions that the locked TensorFlow names, without TensorFlow itself.
  gpu=${lock/requirements/requirements-gpu}
  sed -n 's/^tensorflow==\([^ ]*\).*/tensorflow[and-cuda]==\1/p' "$lock" |
    "${compile[@]}" - --constraint "$lock" "${oldest[@]}" -o "$gpu"
  awk '/^[^ ]/ { kept = /^nvidia/ } kept' "$gpu" >"$gpu.part"
  mv "$gpu.part" "$gpu"
done <hares/version_lines.tsv

"${compile[@]}" setup.py "${universal[@]}" --python-version 3.10 -o requirements-benchmark.lock
list_of DOCS | "${compile[@]}" - --python-version 3.10 -o requirements-docs.lock
