#!/bin/sh
# Print the path of a Python that can carry .venv, or say why there is none and exit with 2.
#
#   find-python.sh [PYTHON]
#
# With an argument only that one is tried.  Otherwise: the PATH, then the folders of the usual version
# managers; 3.13 and 3.12 first, because the pinned wheels are tried on these.  Each candidate is run,
# since a command of that name may be a version manager's shim for a version that is not active.

# What is needed: CPython >= 3.12 with its global lock (the wheels), venv and pip for it, and the
# headers (FFCx compiles the finite-element forms as extension modules).
probe='
import os, sys, sysconfig
import ensurepip, venv
headers = os.path.join(sysconfig.get_path("include"), "Python.h")
good = (
    sys.version_info >= (3, 12)
    and sys.implementation.name == "cpython"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and os.path.exists(headers)
)
if not good:
    sys.exit(1)
print(os.path.abspath(sys.executable))
'

# try COMMAND: if it serves, print its path and end the search.
try() {
    command -v "$1" >/dev/null 2>&1 || return 0
    if found=$("$1" -c "$probe" 2>/dev/null) && [ -n "$found" ]; then
        printf '%s\n' "$found"
        exit 0
    fi
}

requirement='CPython 3.12 or newer with venv, ensurepip and its C headers (3.13 or 3.12 suit the pinned wheels best)'

if [ -n "${1:-}" ]; then
    try "$1"
    echo "find-python: PYTHON=$1 does not serve: this project needs $requirement. Name another one, or leave PYTHON out to have one looked for." >&2
    exit 2
fi

for minor in 13 12 14; do
    try "python3.$minor"
done
try python3

data=${XDG_DATA_HOME:-${HOME:-}/.local/share}
for minor in 13 12 14 15 16 17 18 19; do
    for candidate in \
        "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3."$minor"*/bin/python3 \
        "${UV_PYTHON_INSTALL_DIR:-$data/uv/python}"/cpython-3."$minor"*/bin/python3 \
        "${ASDF_DATA_DIR:-${HOME:-}/.asdf}"/installs/python/3."$minor"*/bin/python3 \
        "${MISE_DATA_DIR:-$data/mise}"/installs/python/3."$minor"*/bin/python3 \
        "${HOME:-}"/.rye/py/cpython@3."$minor"*/bin/python3 \
        /usr/local/bin/python3."$minor" \
        /opt/homebrew/bin/python3."$minor" \
        /opt/python*3"$minor"*/bin/python3 \
        /opt/python*3."$minor"*/bin/python3 \
        /opt/python/*3"$minor"*/bin/python3 \
        /opt/python/*3."$minor"*/bin/python3
    do
        try "$candidate"
    done
done
for candidate in \
    "${HOME:-}"/miniforge3/bin/python3 \
    "${HOME:-}"/miniconda3/bin/python3 \
    "${HOME:-}"/anaconda3/bin/python3 \
    /opt/conda/bin/python3
do
    try "$candidate"
done

echo "find-python: no suitable Python was found on the PATH or in the folders of pyenv, uv, asdf, mise, rye, conda and /opt: this project needs $requirement. Install one (Debian: python3, python3-venv and python3-dev of such a release), or name it: make PYTHON=/path/to/python3.13" >&2
exit 2
