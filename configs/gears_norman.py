"""GEARS on Norman et al. 2019: CRISPRa singles and pairs in K562, a quarter of the genes never
perturbed in training.

Paper: GEARS, Figure 2 and its Methods (5,000 variable genes, 64 hidden, batch 32, 1e-3 halved after
    every epoch, split "simulation").
Expected: docs/results/gears_real.md has what was measured so far; the mean of the training
    perturbations is hard to beat on the correlation of changes.
Command: python experiments/main.py --config=configs/gears_norman.py --workdir=runs/gears_norman
Variants: `:full` the paper's settings, `:demo` the simulated screen in minutes on two cores,
    `:test` in seconds.
Your own file: --config.data.source=screen.h5ad --config.graphs.ontology=goa.gaf.gz
Uncertainty: --config.model.kwargs.uncertainty=gaussian
Ablations: --config.model.kwargs.perturbation_graphs=none (no GO), coexpression_graph=none,
    cross_gene=False, shared_decoder=True, loss=mse.
"""

from ml_collections import ConfigDict

from jaxpert.models.gears import settings


def get_config(variant: str = "full") -> ConfigDict:
    config = ConfigDict(settings.defaults(variant=variant))
    if variant == "full":
        config.data.update(source="norman", preset="norman", variable_genes=5000)
        config.graphs.ontology = "human"
    return config
