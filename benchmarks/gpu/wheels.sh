#!/usr/bin/env bash
# Fetches what a lent machine lacks into .whl/ of this checkout (Python 3.12, x86-64), to be carried there.
#   wheels.sh        engine, files in and the peers of transformers (about 56 MB)
#   wheels.sh ct2    faster-whisper without PyAV instead, which would not fit beside it (about 50 MB)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rm -rf .whl && mkdir .whl
[ -d .git ] && { grep -qxF /.whl/ .git/info/exclude || echo /.whl/ >>.git/info/exclude; }
common="pydantic==2.14.3 pydantic-core==2.50.4 annotated-types==0.8.0 typing-inspection==0.4.5 rich==15.0.0 platformdirs"
case "${1:-engine}" in
  engine) wanted="$common transformers==5.23.0 av" ;;
  ct2) wanted="$common ctranslate2==4.8.5 faster-whisper==1.2.1" ;;
  *) echo "usage: wheels.sh [engine|ct2]" >&2; exit 2 ;;
esac
platforms=()
for n in 2_28 2_27 2_26 2_24 2_17; do platforms+=(--platform "manylinux_${n}_x86_64"); done
for name in $wanted; do
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d .whl "$name"
done
du -sh .whl
