#!/usr/bin/env bash
# Make a virtual environment and install corpusmill with all its extras, pinned by constraints.txt.
# Where no GPU is seen, a CUDA build of torch (gigabytes) is not taken: pip is asked first what it would install.
set -euo pipefail
cd "$(dirname "$0")"
venv=${1:-.venv}
torch_cpu_index=${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}

[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
"$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "install: Python 3.11 or newer is wanted" >&2; exit 1; }
command -v c++ >/dev/null || { echo "install: a C++ compiler is wanted (fastText is built from source)" >&2; exit 1; }

torch=$(grep '^torch==' constraints.txt)
if ! "${pip[@]}" freeze | grep -q "^$torch"; then
    if [ -e /dev/nvidia0 ] || ! "${pip[@]}" install --dry-run -q "$torch" --report - 2>/dev/null | grep -q '"nvidia[-_]'; then
        "${pip[@]}" install -q "$torch"
    else
        "${pip[@]}" install -q "$torch" --index-url "$torch_cpu_index"
    fi
fi
"${pip[@]}" install -q -c constraints.txt -e '.[dev]'
