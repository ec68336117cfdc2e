# Sourced by the launchers: finds a Python that is new enough, or says what to install.

# find_python: prints the interpreter to build environments with.
find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.11 python3.12 python3.13 python3.14 python; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return 0
    fi
  done
  {
    echo "Voltbridge needs Python 3.11 or newer; found: $(python3 --version 2>&1 || echo none)."
    echo "Install it (Debian and Ubuntu: apt-get install python3 python3-venv), or name one: PYTHON=/path/to/python3.11 $0"
  } >&2
  return 1
}

# prepare ENVIRONMENT [options]: builds .venvs/ENVIRONMENT if needed and sets $python to its interpreter.
# VOLTBRIDGE_PYTHON names an interpreter that already has everything; then nothing is built.
prepare() {
  local name=$1 base
  # Packages are installed uncompiled; what is used is compiled once and kept, or every start would take seconds longer.
  unset PYTHONDONTWRITEBYTECODE
  if [ -n "${VOLTBRIDGE_PYTHON:-}" ]; then
    python=$VOLTBRIDGE_PYTHON
    return 0
  fi
  base=$(find_python) || exit 1
  (cd "$root" && "$base" -m scripts.environment "$@") || exit 1
  python=$root/.venvs/$name/bin/python
}
