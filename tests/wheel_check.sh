#!/usr/bin/env bash
# Build the distribution as it would be published, install it where there is torch and nothing else of ours, the lowest
# torch that it allows and the newest, and run the tests of pal/ from outside.
# Usage: tests/wheel_check.sh [PYTHON]   (needs uv)
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PAL_REFERENCE=${PAL_REFERENCE:-$repository/../shared/reference}

# In a copy, since building leaves files behind that a later build takes up.
mkdir "$folder/source" "$folder/outside"
cp -r "$repository"/{LICENSE,MANIFEST.in,README.md,pyproject.toml,docs,pal} "$folder/source"
uv build --quiet --out-dir "$folder/dist" "$folder/source"
uv tool run --quiet twine check --strict "$folder"/dist/*.whl "$folder"/dist/*.tar.gz

cp -r "$repository"/tests/{pal,baselines,conftest.py,reference.py} "$folder/outside"
cd "$folder/outside"
for resolution in lowest-direct highest; do
    python=$folder/$resolution/bin/python
    uv venv --quiet --python "${1:-python}" "$folder/$resolution"
    # pyproject.toml, so that torch is a direct requirement.
    uv pip install --quiet --python "$python" --resolution "$resolution" -r "$repository/pyproject.toml" "$folder"/dist/*.whl
    uv pip install --quiet --python "$python" hypothesis numpy pytest
    "$python" -c 'import torch; print("torch", torch.__version__)'
    "$python" -m pytest -c "$repository/pyproject.toml" --rootdir . -p no:cacheprovider -m "not large" --quiet .
done
