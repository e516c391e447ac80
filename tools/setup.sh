#!/bin/sh
# Makes .venv and installs batchspec into it: every dependency at the version of requirements.lock and
# with its hash checked, then the project itself. `make` calls it when one of them has changed.
#
#   tools/setup.sh            set up
#   tools/setup.sh --missing  only print the Debian packages that are needed first, one a line
#
# PYTHON chooses an interpreter; else the first of 3.11 or newer is taken. What pip is configured to
# do (index, proxy, certificates) is left alone.
set -eu
cd "$(dirname "$0")/.."

works() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# Debian takes venv apart: the module is there, what it needs to put pip into a new one is not.
makes_environments() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# The first that can make an environment; else the first that could, if it were whole.
find_python() {
    for wanted in makes_environments true; do
        for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 python3.12 python3.13 python3.14; do
            if works "$candidate" && "$wanted" "$candidate"; then
                echo "$candidate"
                return
            fi
        done
    done
}

missing_packages() {
    if [ -z "$1" ]; then
        printf 'python3\npython3-venv\n'
    elif ! makes_environments "$1"; then
        "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
    fi
}

python=$(find_python)
missing=$(missing_packages "$python")

if [ "${1:-}" = --missing ]; then
    printf '%s' "${missing:+$missing
}"
    exit 0
fi

if [ -n "$missing" ] && ! works .venv/bin/python; then
    {
        if [ -z "$python" ]; then
            echo "batchspec needs Python 3.11 or newer, and there is none on the PATH."
        else
            echo "$python cannot make virtual environments: a part of Python is in a separate package."
        fi
        echo "On Debian and Ubuntu:"
        echo "    sudo apt-get install" $missing
    } >&2
    exit 1
fi

if ! works .venv/bin/python; then
    echo "Setting up .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv
fi
echo "Installing what requirements.lock names into .venv (a minute the first time) ..."
pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip --quiet"
$pip install --require-hashes --no-deps -r requirements.lock
$pip install --no-deps --no-build-isolation --editable .
