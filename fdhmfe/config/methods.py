"""Methods by name: the network, the objective and the coder that each is made of.

The settings `network`, `objective` and `coder` replace a part. Their value is a name from the
tables here, or "module:Name" for a part of your own. `method` can be a Composition: "module:NAME".
Parts are imported only when a run is built.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pkgutil import resolve_name
from typing import Any

NETWORKS: Mapping[str, str] = {
    "fdh-mfe": "fdhmfe.network:FDHMFE",
    "pooled": "fdhmfe.baselines.networks:PooledHash",
    "pooled-classified": "fdhmfe.baselines.networks:ClassifiedHash",
    "classifier": "fdhmfe.baselines.networks:Classifier",
    "parts": "fdhmfe.baselines.parts:PartHash",
    "semicon": "fdhmfe.baselines.parts:SEMICON",
    "features": "fdhmfe.training.finetune:MeanPool",
}
OBJECTIVES: Mapping[str, str] = {
    "fdh-mfe": "fdhmfe.losses:FDHMFELoss",
    "dpsh": "fdhmfe.baselines.pairs:DPSHLoss",
    "hashnet": "fdhmfe.baselines.pairs:HashNetLoss",
    "adsh": "fdhmfe.baselines.solved:ADSHLoss",
    "csq": "fdhmfe.baselines.objectives:CSQLoss",
    "dpn": "fdhmfe.baselines.objectives:DPNLoss",
    "orthohash": "fdhmfe.baselines.objectives:OrthoHashLoss",
    "softmax": "fdhmfe.baselines.objectives:SoftmaxLoss",  # needs class logits: `classifier`
    "exchnet": "fdhmfe.baselines.solved:ExchNetLoss",  # needs the network `parts`
    "a2-net": "fdhmfe.baselines.solved:A2NetLoss",  # needs `parts`, too
}
CODERS: Mapping[str, str] = {
    "sign": "fdhmfe.training.coders:Sign",
    "read-out": "fdhmfe.training.coders:ReadOut",
    "mixture": "fdhmfe.training.coders:ClassMixture",
    "lsh": "fdhmfe.training.coders:RandomProjection",
    "itq": "fdhmfe.training.coders:ITQ",
}


ARRANGED: Mapping[str, Any] = {"arranged": True}  # ours: look-alike classes get similar proxies
CONTROL = {**ARRANGED, "pooling": "all"}
PLUS = {**ARRANGED, "proxy_readout": True}  # what FDH-MFE+ adds to the parts of the abstract


@dataclass(frozen=True)
class Composition:
    """What a method is made of, and how tables and figures show it."""

    name: str
    title: str
    family: str  # methods of one family share a colour
    network: str
    objective: str  # empty: nothing is trained; the coder is fitted to the features, without labels
    coder: str = "sign"
    settings: Mapping[str, Any] = field(default_factory=dict)  # what makes the method differ


METHODS: Mapping[str, Composition] = {
    each.name: each
    for each in (
        Composition("fdh-mfe", "FDH-MFE", "ours", "fdh-mfe", "fdh-mfe"),
        Composition("fdh-mfe+", "FDH-MFE+", "ours", "fdh-mfe", "fdh-mfe", settings=PLUS),
        Composition("softmax", "softmax", "controls", "classifier", "softmax", settings=CONTROL),
        Composition("pooled-mlp", "pooled MLP", "controls", "pooled-classified", "fdh-mfe"),
        Composition("lsh", "LSH", "projections", "features", "", "lsh"),
        Composition("itq", "ITQ", "projections", "features", "", "itq"),
        Composition("dpsh", "DPSH", "pairs of images", "pooled", "dpsh"),
        Composition("hashnet", "HashNet", "pairs of images", "pooled", "hashnet"),
        Composition("adsh", "ADSH", "pairs of images", "pooled", "adsh"),
        Composition("csq", "CSQ", "class codes", "pooled", "csq"),
        Composition("dpn", "DPN", "class codes", "pooled", "dpn"),
        Composition("orthohash", "OrthoHash", "class codes", "pooled", "orthohash"),
        Composition("exchnet", "ExchNet", "parts", "parts", "exchnet"),
        Composition("a2-net", "A²-Net", "parts", "parts", "a2-net"),
        Composition("semicon", "SEMICON", "parts", "semicon", "adsh"),
    )
}
# Rows that a run brings beside its method's own, and their families: the first two from the
# classifier's run, the last from FDH-MFE's
REFERENCES: Mapping[str, str] = {
    "class-id": "controls",
    "cosine": "controls",
    "unquantised": "references",
}


def find(method: str) -> Composition:
    """The Composition that a method's name, or "module:NAME", stands for.

    Raises ValueError if it cannot be imported or is no Composition.
    """
    if ":" not in method:
        return METHODS[method]
    found = part(method, {})
    if not isinstance(found, Composition):
        raise ValueError(f"{method} is a {type(found).__name__}, not a Composition")
    return found


def compose(method: str, trainable: str, variant: str, **parts: str) -> Composition:
    """A method, its network, objective and coder replaced by those given; an empty name keeps one.

    If a part is replaced, the method is named after its three parts, unless the variant `open` did
    it. A method without an objective codes the features of a backbone; if that is `trainable`, a
    softmax classifier trains them.
    """
    own: Composition = find(method)
    given: dict[str, Any] = {name: part for name, part in parts.items() if part}
    if not own.objective and trainable != "none":
        own = replace(own, network="classifier", objective="softmax")
    if not given:
        return own
    mixed = replace(own, **given)
    if variant == "open":
        return mixed
    name = "+".join(p.rpartition(":")[2] for p in (mixed.network, mixed.objective, mixed.coder))
    return replace(mixed, name=name, title=name, family="put together")


def part(name: str, known: Mapping[str, Any]) -> Any:
    """Import what a name in `known`, or "module:Name", stands for; ValueError if that fails."""
    try:
        return resolve_name(known.get(name, name))
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{name} cannot be imported ({error})") from error
