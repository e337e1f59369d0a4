"""scGen on Kang et al. 2018: interferon-beta in seven types of blood cells, one vector for all of
them.

Paper: scGen (Lotfollahi et al. 2019), Figure 2 (100 latents, two hidden layers of 800, batch 32,
    patience 25).
Expected: scores of the stimulated cells beside the baselines, which are hard to beat on a condition
    seen in training; the test of scGen is a type whose stimulated cells are held out
    (--config.split.kind=column and --config.split.column=COLUMN, with test for these cells, train
    and val for the others).
Command: python experiments/main.py --config=configs/scgen.py --workdir=runs/scgen
    --config.data.source=kang.h5ad
Variants: `:full` the paper's settings, `:demo` simulated cell lines in minutes on two cores,
    `:test` in seconds. One's own file: --config.data.source=screen.h5ad
    --config.data.stratum=COLUMN for cell types or lines.
"""

from ml_collections import ConfigDict

from jaxpert.models.scgen import settings


def get_config(variant: str = "full") -> ConfigDict:
    config = ConfigDict(settings.defaults("scgen", variant))
    if variant == "full":
        config.data.update(source="kang.h5ad", stratum="cell_type")
    return config
