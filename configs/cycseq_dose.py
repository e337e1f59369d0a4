"""CycSeq from one dose of a compound to the next higher one, and back.

Paper: CycSeq (IJCAI 2025), Table 2, on sci-Plex 3 (K562, 188 compounds, vehicle and 10 to 10,000
    nM): pairs of neighbouring doses, fine-tuned from a pre-trained run on the compounds with
    several annotated targets, tested on those with one. A condition carries all targets of its
    compound; the dose itself is only read with --config.model.kwargs.dose=True, in a run that does
    not go on from another (--config.train.start= and --config.data.combat_reference=largest), as
    `:demo` and `:test` are; one that does is aligned to the ComBat reference of that run.
    --config.data.pairs=lowest_to_highest is the other reading of the paper.
Expected: no change is hard to beat, since neighbouring doses differ little
    (docs/results/cycseq_simulated.md).
Command: python experiments/main.py --config=configs/cycseq_dose.py
    --config.data.source=sciplex3_k562.h5ad --config.data.targets=targets.csv
    --config.train.start=runs/cycseq_pretrain --workdir=runs/cycseq_dose
Variants: `:full`; `:demo` and `:test` are from scratch on simulated compounds; `:paper` and
    `:reference` as in cycseq_pretrain.py.
"""

from ml_collections import ConfigDict

from jaxpert.models.cycseq import settings

SIMULATED = {
    "demo": {"preset": "doses", "simulation": "cells=16000,singles=60,genes=500"},
    "test": {"preset": "doses_tiny", "simulation": ""},
}
EPOCHS = {"demo": 60, "test": 2}


def get_config(variant: str = "full") -> ConfigDict:
    small = variant in SIMULATED
    stage = "pretrain" if small else "finetune"
    config = ConfigDict(settings.defaults("cycseq", variant, stage))
    config.data.compound, config.split.kind = "compound", "replicate"
    if small:
        config.data.update(lines="", **SIMULATED[variant])
        config.model.kwargs.dose = True
        config.train.update(patience=0, epochs=EPOCHS[variant])
    else:
        config.data.update(source="sciplex3_k562.h5ad", targets="targets.csv", line="cell_type")
        config.train.start = f"runs/cycseq_pretrain_{variant}"
    return config
