#!/usr/bin/env bash
# Makes a virtual environment with Python 3.10 and everything in requirements.lock.
#
#   bash bootstrap.sh [VENV]        (default .venv)
#
# The Python comes from: python3.10 on the PATH if it runs, else pyenv's versions, else `uv python install`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=${1:-.venv}

runs_310() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 10))' >/dev/null 2>&1; }

find_python() {
  local candidate
  # A pyenv shim of this name may exist and fail, so each candidate is tried and not only looked for.
  for candidate in python3.10 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10*/bin/python; do
    if runs_310 "$candidate"; then echo "$candidate"; return; fi
  done
  if command -v uv >/dev/null 2>&1 && uv python install 3.10 >&2; then
    candidate=$(uv python find 3.10) && runs_310 "$candidate" && { echo "$candidate"; return; }
  fi
  echo "hares needs Python 3.10 (docs/versions.md says why) and found none: neither python3.10 on the PATH," >&2
  echo "nor in ${PYENV_ROOT:-$HOME/.pyenv}/versions, nor by uv. Install it, for example: pyenv install 3.10" >&2
  exit 3
}

python=$(find_python)
echo "Python: $("$python" --version 2>&1); environment: $venv"
[ -x "$venv/bin/python" ] && runs_310 "$venv/bin/python" || "$python" -m venv --clear "$venv"
# --no-deps: the lock is complete, and pip's resolver would only look for newer versions of what it pins.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
"$venv/bin/python" -m pip check
