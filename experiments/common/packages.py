"""Which version of an installed package this is."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import Distribution, distribution, packages_distributions
from importlib.util import find_spec
from pathlib import Path


@cache
def version(module: str) -> str:
    """Version of the package that a module belongs to, and a digest of its source where that may change under it.

    An editable installation keeps its version whatever is edited, and a module beside the project has none. What says
    how the same source was built, as in 2.15.0+cpu, is left out.
    """
    names = _distributions().get(module, ())
    found = distribution(names[0]) if names else None
    number = "" if found is None else found.version.partition("+")[0]
    return (
        number if found is not None and not _is_editable(found) else f"{number}+{_source(module)}".lstrip("+")
    )


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    return packages_distributions()


def _is_editable(found: Distribution) -> bool:
    text = found.read_text("direct_url.json")
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))


def _source(module: str) -> str:
    """Digest of a module's source files; empty if it has none."""
    found = find_spec(module)
    folders = list(found.submodule_search_locations or ()) if found else []
    files = [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    if found and not folders and found.has_location:
        files = [Path(str(found.origin))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files))
    return digest.hexdigest()[:16] if files else ""
