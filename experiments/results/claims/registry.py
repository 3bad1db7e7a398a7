"""All claims, in the order of the report."""

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
    """All claims of all lists."""
    return [claim for target in CLAIMS for claim in load(target)] + list(OWN.values())
