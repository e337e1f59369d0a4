"""CRADLE-VAE on Norman et al. 2019: CRISPRa singles and pairs in K562, a quarter of the pairs held
out.

Paper: CRADLE-VAE, Table 2 and appendix H (learning rate 3e-4, counterfactual weight 0.5, 200
    latents, mask prior 0.01).
Expected: scores of unseen pairs ("test") beside the additive baseline; docs/results holds what was
    measured so far.
Command: python experiments/main.py --config=configs/cradle_norman.py --workdir=runs/cradle_norman
Variants: `:full` the paper's settings (an accelerator's work), `:demo` the simulated screen in
    minutes on two cores, `:test` in seconds.
Your own file: --config.data.source=screen.h5ad (see --help for the columns).
"""

from ml_collections import ConfigDict

from jaxpert.models.cradle import settings


def get_config(variant: str = "full") -> ConfigDict:
    config = ConfigDict(settings.defaults("cradle_vae", variant))
    if variant == "full":
        config.data.source = config.data.preset = "norman"
    return config
