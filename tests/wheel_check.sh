#!/usr/bin/env bash
# Build the wheel, install it where there is torch and nothing else of ours, and run the tests of pal/ from outside.
# Usage: tests/wheel_check.sh [PYTHON]   (needs uv)
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
torch=$("${1:-python}" -c 'import torch; print(torch.__version__.split("+")[0])')

uv build --quiet --wheel --out-dir "$folder" "$repository"
uv venv --quiet --python "${1:-python}" "$folder/venv"
uv pip install --quiet --python "$folder/venv/bin/python" "$folder"/pal-*.whl "torch==$torch" numpy pytest hypothesis

mkdir "$folder/outside"
cp -r "$repository/tests/pal" "$repository/tests/conftest.py" "$folder/outside"
cd "$folder/outside"
PAL_REFERENCE=${PAL_REFERENCE:-$repository/../shared/reference} \
    "$folder/venv/bin/python" -m pytest -c "$repository/pyproject.toml" --rootdir . -p no:cacheprovider --quiet pal
