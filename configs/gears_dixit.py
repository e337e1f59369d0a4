"""GEARS on Dixit et al. 2016: knock-outs in K562, a quarter of the genes held out.

Paper: GEARS, Figure 2 and its Methods (settings of configs/gears_norman.py). Combinations are in
    the file; the paper uses its 24 single perturbations.
Expected: published correlation of changes 0.551 (0.007 to 0.801 over five seeds) against 0.181 of
    the mean of training perturbations.
Command: python experiments/main.py --config=configs/gears_dixit.py --workdir=runs/gears_dixit
Variants: `:full`, `:demo` (a simulated screen with combinations), `:test`.
"""

from ml_collections import ConfigDict

from jaxpert.models.gears import settings


def get_config(variant: str = "full") -> ConfigDict:
    config = ConfigDict(settings.defaults(variant=variant))
    if variant == "full":
        config.data.update(source="dixit", preset="dixit", variable_genes=5000)
        config.graphs.ontology = "human"
    else:
        config.data.simulation = "own_effect=-1.5"
    if variant == "test":
        config.data.simulation += ",singles=12"
    return config
