#!/usr/bin/env bash
# Set up the peers of benchmarks/dedup.py, each in an environment of its own below benchmarks/.peers (or $CORPUSMILL_PEERS).
# Nothing of them enters the project's environment. What is there already is not installed again.
set -euo pipefail
cd "$(dirname "$0")"
peers=${CORPUSMILL_PEERS:-.peers}

install() { # NAME
    local name=$1
    [ -e "$peers/$name/ready" ] && return
    "${PYTHON:-python3}" -m venv "$peers/$name"
    "$peers/$name/bin/pip" install --disable-pip-version-check -q -r "peers/$name.txt"
    touch "$peers/$name/ready"
    echo "$name: $("$peers/$name/bin/pip" list --format=freeze | grep -i "^$name==")"
}

install datatrove
install rensa
