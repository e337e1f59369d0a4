"""A simple baseline as a model of its own: what every learned model has to beat, trained, reported
and asked like one.

Sources: docs/evaluation.md, "Baselines".
Expected: the scores that stand under the baseline's name beside every other run on the same data.
Command: python experiments/main.py --config=configs/baselines.py
    --config.model.name=shrunken_additive --workdir=runs/shrunken_additive
    --config.data.source=screen.h5ad
Variants: `:full` your own file or a public screen, `:demo` and `:test` simulated screens.
    --config.model.name=NAME for another baseline; those that weigh annotations need
    --config.model.kwargs.perturbation_graphs=ontology --config.graphs.ontology=FILE.
"""

from ml_collections import ConfigDict

from jaxpert.models.baselines import settings


def get_config(variant: str = "full") -> ConfigDict:
    config = ConfigDict(settings.defaults(variant=variant))
    if variant == "full":
        config.data.source = "norman"
    return config
