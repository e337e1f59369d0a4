"""GEARS on Adamson et al. 2016: CRISPRi single perturbations in K562, a quarter of the genes held
out.

Paper: GEARS, Figure 2 and its Methods (settings of configs/gears_norman.py; split of genes,
    "simulation_single").
Expected: published top-20 error 0.153 against 0.161 of the mean of training perturbations, whose
    correlation of changes is higher (0.756 against 0.737).
Command: python experiments/main.py --config=configs/gears_adamson.py --workdir=runs/gears_adamson
Variants: `:full`, `:demo` (a simulated screen of singles), `:test`.
"""

from ml_collections import ConfigDict

from jaxpert.models.gears import settings


def get_config(variant: str = "full") -> ConfigDict:
    config = ConfigDict(settings.defaults(variant=variant))
    config.split.kind = "simulation_single"
    if variant == "full":
        config.data.update(source="adamson", preset="adamson", variable_genes=5000)
        config.graphs.ontology = "human"
    else:
        config.data.simulation = "pairs=0,own_effect=-1.5"
    if variant == "test":
        config.data.simulation += ",singles=16"
    return config
