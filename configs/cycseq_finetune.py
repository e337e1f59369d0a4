"""CycSeq fine-tuned on one line from a pre-trained run.

Paper: CycSeq (IJCAI 2025), fine-tuning: RMSprop 1e-5, batch 64, at most 30 epochs, rate times 0.9
    after every tenth of them, patience 10. Generators, critics and their batch moments come from
    the run in train.start; a line that it does not know takes one of its free batch columns. Genes
    have to be those of that run, and rows are aligned to its ComBat reference
    (data.combat_reference=start; empty where it had none), of which it keeps the moments.
    --config.train.epochs=0 evaluates the run on these data as it is (zero-shot);
    --config.train.freeze=generators.p2n.encoder.trunk,generators.n2p.encoder.trunk leaves parts as
    they are.
Expected: docs/results/cycseq_simulated.md (without ComBat).
Command: python experiments/main.py --config=configs/cycseq_finetune.py
    --config.train.start=runs/cycseq_pretrain --config.data.source=line.h5ad
    --workdir=runs/cycseq_finetune
Variants: `:full`; `:demo` and `:test` go on from runs/cycseq_pretrain_demo and
    runs/cycseq_pretrain_test (the default work directories of those variants of cycseq_pretrain.py)
    on the line with the fewest cells; `:paper` and `:reference` as there.
"""

from ml_collections import ConfigDict

from jaxpert.models.cycseq import settings


def get_config(variant: str = "full") -> ConfigDict:
    config = ConfigDict(settings.defaults("cycseq", variant, "finetune"))
    config.train.start = f"runs/cycseq_pretrain_{variant}"
    if config.data.preset == "demo":
        config.data.update(source="line.h5ad", line="cell_type")
    return config
