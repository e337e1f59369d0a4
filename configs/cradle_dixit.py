"""CRADLE-VAE on Dixit et al. 2016: CRISPR knock-outs in K562, a quarter of the combinations held
out.

Paper: CRADLE-VAE, Table 2 and appendix H (learning rate 3e-4, counterfactual weight 0.5, 200
    latents, mask prior 0.01).
Expected: not run on the full screen yet; the paper's claim is a higher ATE-rho on unseen
    combinations than SAMS-VAE.
Command: python experiments/main.py --config=configs/cradle_dixit.py --workdir=runs/cradle_dixit
Variants: `:full` the paper's settings (an accelerator's work), `:demo` the simulated screen in
    minutes on two cores, `:test` in seconds.
Your own file: --config.data.source=screen.h5ad (see --help for the columns).
"""

from ml_collections import ConfigDict

from jaxpert.models.cradle import settings


def get_config(variant: str = "full") -> ConfigDict:
    config = ConfigDict(settings.defaults("cradle_vae", variant))
    if variant == "full":
        config.data.source = config.data.preset = "dixit"
    return config
