"""Names of methods, in figures and in sentences; importing them needs no matplotlib."""

LABELS = {
    "pal": "PAL",
    "sgd": "SGD",
    "adam": "Adam",
    "rmsprop": "RMSProp",
    "sls": "SLS",
    "sgdhd": "SGD-HD",
    "alig": "ALI-G",
    "cocob": "COCOB",
    "sgd-step": "SGD, schedule",
    "adam-step": "Adam, schedule",
    "rmsprop-step": "RMSProp, schedule",
    "exact": "exact search",
    "rmsprop-tf": "RMSProp (TensorFlow)",
    "adamw": "AdamW",
    "sgd-cosine": "SGD, cosine",
    "prodigy": "Prodigy",
    "schedulefree-sgd": "schedule-free SGD",
    "schedulefree-adamw": "schedule-free AdamW",
    "lbfgs": "L-BFGS",
    "labpal": "LABPAL",
    "qlabgrad": "QLABGrad",
    "ponos": "PoNoS",
    "sps": "SPS",
    "decsps": "DecSPS",
    "momo": "MoMo",
}
"""The label of each method that is not called by its own name."""


def label(method: str) -> str:
    """The label of a method."""
    return LABELS.get(method, method)
