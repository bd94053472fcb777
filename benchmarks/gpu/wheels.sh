#!/usr/bin/env bash
# Fetches what a borrowed GPU machine lacks into .whl/ of this checkout (CPython 3.12, x86-64, Linux), to be carried there.
#   wheels.sh        engine and files in
#   wheels.sh ct2    faster-whisper instead of PyAV; both do not fit
# AV_VERSION chooses another PyAV, LIMIT_MIB is what tracked files and wheels may weigh together. Ends with 3 above it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
av="av==${AV_VERSION:-18.1.0}"
limit_mib="${LIMIT_MIB:-64}"
# torch, triton, transformers, numpy, pandas, pyarrow, rich and nvidia-ml-py are there.
common="pydantic==2.14.4 pydantic-core==2.50.5 annotated-types==0.8.0 typing-inspection==0.4.5 platformdirs==4.14.8"
case "${1:-engine}" in
  engine) wanted="$common $av" ;;
  ct2) wanted="$common ctranslate2==4.8.5 faster-whisper==1.2.1" ;;
  *) echo "usage: wheels.sh [engine|ct2]" >&2; exit 2 ;;
esac
rm -rf .whl && mkdir .whl
[ -d .git ] && { grep -qxF /.whl/ .git/info/exclude || echo /.whl/ >>.git/info/exclude; }
platforms=()
for n in 2_39 2_35 2_34 2_31 2_28 2_27 2_26 2_24 2_17; do platforms+=(--platform "manylinux_${n}_x86_64"); done
for name in $wanted; do
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d .whl "$name"
done
# What travels is what git tracks and what it does not ignore.
tree=$(git ls-files -z --cached --others --exclude-standard | { xargs -0 stat -c %s -- 2>/dev/null || true; } | awk '{ n += $1 } END { print n + 0 }')
wheels=$(stat -c %s .whl/*.whl | awk '{ n += $1 } END { print n }')
awk -v tree="$tree" -v wheels="$wheels" -v limit="$limit_mib" 'BEGIN {
  mib = 1048576
  printf "files %.1f MiB + wheels %.1f MiB = %.1f of %d MiB\n", tree / mib, wheels / mib, (tree + wheels) / mib, limit
  exit (tree + wheels > limit * mib) ? 3 : 0
}'
