#!/usr/bin/env bash
# Makes a virtual environment with a line of versions (hares/version_lines.tsv): its Python, and all that its lock pins.
#
#   bash bootstrap.sh [VENV]        (default .venv)
#   bash bootstrap.sh --which       only says which line it would take, and why
#
# The newest line is taken whose Python is here and whose glibc this machine has; LINE=2.15 or LINE=2.21 asks for one. The Python
# comes from: pythonX.Y on the PATH if it runs, else pyenv's versions; if there is none for any line, `uv python install`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=${1:-.venv}
wanted=${LINE:-}
pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions

runs() { "$1" -c "import sys, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '$2')" >/dev/null 2>&1; }

find_python() {  # VERSION...: the first that is here
  local version candidate
  for version; do
    # A pyenv shim of this name may exist and fail, so each candidate is tried and not only looked for.
    for candidate in "python$version" "$pyenv/$version".*/bin/python; do
      if runs "$candidate" "$version"; then echo "$candidate"; return; fi
    done
  done
  return 1
}

glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
has_glibc() { [ -n "$glibc" ] && [ "$(printf '%s\n' "$1" "$glibc" | sort -V | head -n 1)" = "$1" ]; }

python='' line='' why='' lock='' installable=''
while IFS=$'\t' read -r name its_lock its_pythons its_glibc; do
  if [ -n "$wanted" ] && [ "$name" != "$wanted" ]; then continue; fi
  read -ra versions <<<"$its_pythons"
  if ! has_glibc "$its_glibc"; then
    why+=" Not $name: it needs glibc $its_glibc, and this machine has ${glibc:-another C library}."
  elif python=$(find_python "${versions[@]}"); then
    line=$name lock=$its_lock
    break
  else
    why+=" Not $name: no Python ${its_pythons// /, } on the PATH or in $pyenv."
    installable=${installable:-$name $its_lock ${versions[0]}}
  fi
done <hares/version_lines.tsv

if [ -z "$line" ] && [ -n "$installable" ] && [ "$venv" != --which ] && command -v uv >/dev/null 2>&1; then
  read -r line lock version <<<"$installable"
  uv python install "$version" >&2 && python=$(uv python find "$version") && runs "$python" "$version" || line=''
fi
if [ -z "$line" ]; then
  echo "no line of versions${wanted:+ called $wanted} can be installed here.$why" >&2
  echo "docs/versions.md says what each needs. Install a Python of one, for example: pyenv install 3.10" >&2
  exit 3
fi
echo "Versions: the line of TensorFlow $line ($lock).$why"
[ "$venv" != --which ] || exit 0
echo "Python: $("$python" --version 2>&1); environment: $venv"
version=$("$python" -c "import sys; print('%d.%d' % sys.version_info[:2])")
[ -x "$venv/bin/python" ] && runs "$venv/bin/python" "$version" || "$python" -m venv --clear "$venv"
# --no-deps: the lock is complete, and pip's resolver would only look for newer versions of what it pins.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
"$venv/bin/python" -m pip check
