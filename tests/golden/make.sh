#!/usr/bin/env bash
# Makes the golden files of this folder anew from llama.cpp, as its converter and its quantizer write them.
#   usage: make.sh ORACLE [REFERENCE]     ORACLE: the folder with setup.sh, setup_reference.sh, ggml.py and golden/
#                                         REFERENCE: where setup_reference.sh installs (6 GB the first time)
# names.json is the oracle's own golden/names.json; cards.py, tiny_llama.py, schemes.py, identify.py, families.py,
# vocabularies.py, structures.py and published.py say what the others are.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
oracle=$(cd "$1" && pwd)
home=$("$oracle/setup.sh")
reference=${2:-$home/reference}
"$oracle/setup_reference.sh" "$reference" >&2
export PYTHONDONTWRITEBYTECODE=1 NO_COLOR=1
cp "$oracle/golden/names.json" "$here/names.json"
"$home/venv/bin/python" "$here/cards.py" "$reference/llama.cpp/gguf-py" >"$here/cards.json"
"$home/venv/bin/python" "$here/tiny_llama.py" "$oracle" "$reference" >"$here/tiny-llama.json"
"$home/venv/bin/python" "$here/schemes.py" "$oracle/schemes" "$here"
"$reference/venv/bin/python" "$here/identify.py" "$reference" >"$here/identify.json"
"$reference/venv/bin/python" "$here/families.py" "$reference"
"$reference/venv/bin/python" "$here/vocabularies.py" "$reference" >"$here/vocabularies.json"
"$reference/venv/bin/python" "$here/structures.py" "$oracle" "$reference" >"$here/structures.json"
"$reference/venv/bin/python" "$here/published.py" "$oracle" "$reference" >"$here/published.json"
