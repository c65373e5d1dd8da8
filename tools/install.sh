#!/bin/sh
# Create the virtual environment if it is not there, and install a requirements file into it.
# Usage: install.sh PYTHON VENV REQUIREMENTS
set -eu
python=$1 venv=$2 requirements=$3

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Python 3.11 or newer is needed ('$python' is not). Name another one: make PYTHON=python3.12 run" >&2
    exit 2
fi
if [ ! -x "$venv/bin/python" ]; then
    echo "Creating the virtual environment in $venv"
    "$python" -m venv "$venv" || {
        echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 2
    }
fi
echo "Installing $requirements (the first time takes a minute or two)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
