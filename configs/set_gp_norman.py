"""A Gaussian process over perturbation sets on pairs of genes: effects of genes and pairs that were
never measured, with intervals that hold.

Sources: docs/models/set_gp.md. It is this project's own model; no paper has it.
Expected: docs/results/set_gp.md.
Command: python experiments/main.py --config=configs/set_gp_norman.py --workdir=runs/set_gp
    --config.data.source=FILE
    FILE is a screen of cells, or a table of effects (conditions x genes); annotations by
    --config.graphs.ontology=FILE --config.model.kwargs.perturbation_graphs=ontology
Variants: `:full` your own file or the Norman screen, `:demo` and `:test` simulated screens.
"""

from ml_collections import ConfigDict

from jaxpert.models.set_gp import settings


def get_config(variant: str = "full") -> ConfigDict:
    config = ConfigDict(settings.defaults(variant=variant))
    if variant == "full":
        config.data.source = "norman"
        config.split.kind = "simulation"
        # Nothing is chosen by validation.
        config.split.validation = False
    return config
