"""All claims, in the order of the report."""

from experiments.common.errors import UserError
from experiments.common.registry import Registry, instance_of, load
from experiments.results.claims.claim import Claim

CLAIMS = [
    "experiments.results.claims.benchmark:CLAIMS",
    "experiments.results.claims.lines:CLAIMS",
    "experiments.results.claims.adaptation:CLAIMS",
    "experiments.results.claims.exactness:CLAIMS",
    "experiments.results.claims.fullbatch:CLAIMS",
    "experiments.results.claims.interpolation:CLAIMS",
    "experiments.results.claims.horizon:CLAIMS",
    "experiments.results.claims.ablation:CLAIMS",
    "experiments.results.claims.batchsize:CLAIMS",
    "experiments.results.claims.capacity:CLAIMS",
]
"""Lists of claims, one per study."""

OWN = Registry("claim", {}, "CLAIMS", instance_of(Claim))
"""Claims of extensions, by their ids."""


def all_claims() -> list[Claim]:
    """All claims of all lists; raises UserError if one of an extension has the id of another."""
    ours = [claim for target in CLAIMS for claim in load(target)]
    taken = next((claim.id for claim in ours if claim.id in OWN), None)
    if taken is not None:
        raise UserError(f"CLAIMS: {taken!r} is a claim of the package; it needs another id")
    return ours + list(OWN.values())
