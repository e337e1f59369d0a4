"""CycSeq pre-trained on several cell lines at once.

Paper: CycSeq (IJCAI 2025), pre-training: Adam 2e-4 (first moment 0.5), batch 512, at most 100
    epochs, rate times 0.9 after every tenth of them, patience 30; gradient norm of the generators
    clipped to 1 as in the published code. Its screens (GSE132080, E-MTAB-13204, Replogle et al.
    2022, SCP542) are no single public file: give your own as --config.data.source=one.h5ad,two.h5ad
    with --config.data.perturbation and .line (one name for all files, or one for each joined by
    commas) and .control (the control labels of all files).
Expected: docs/results/cycseq_real.md and cycseq_simulated.md; on the paper's split (`replicate`,
    every perturbation is trained on) scores measure the noise of drawing cells, so quote
    --config.split.kind=perturbation, cell_line or perturbation_in_line.
Command: python experiments/main.py --config=configs/cycseq_pretrain.py
    --workdir=runs/cycseq_pretrain
Variants: `:full`, `:demo` simulated lines in minutes on two cores, `:test` in seconds; `:paper` and
    `:reference` are `:full` with the printed equations and with the published code's model.
"""

from ml_collections import ConfigDict

from jaxpert.models.cycseq import settings


def get_config(variant: str = "full") -> ConfigDict:
    config = ConfigDict(settings.defaults("cycseq", variant))
    if config.data.preset == "demo":
        config.data.update(source="lines.h5ad", line="cell_type")
    return config
