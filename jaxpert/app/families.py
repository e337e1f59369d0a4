"""Where each model lives."""

MODULES = {
    "cradle_vae": "jaxpert.models.cradle.model",
    "sams_vae": "jaxpert.models.cradle.sams_vae",
    "cpa_vae": "jaxpert.models.cradle.cpa_vae",
    "svae_plus": "jaxpert.models.cradle.svae_plus",
    "conditional_vae": "jaxpert.models.cradle.conditional_vae",
    "gears": "jaxpert.models.gears.model",
    "cycseq": "jaxpert.models.cycseq.model",
    "scgen": "jaxpert.models.scgen.model",
}
