"""Tables and figures of what a finished run's latent space says.

python experiments/interpret.py --run=runs/cradle_norman

--run=FOLDER     work directory of a finished run of a model with perturbation embeddings
--output=FOLDER  where the tables and figures go (default: RUN/interpretation); files of an earlier
call are replaced --draws=N        draws of the posterior of masks and embeddings (default 100)
--seed=N         which seed of a run with train.seeds above 1 (default 0)

perturbations.csv  training cells, factors used and length of the embedding of each perturbation
factors.csv        factors in use: how many perturbations use each, and the typical move along it
inclusion.csv      probability that a perturbation moves a factor (models with masks)
embedding.csv      posterior mean and standard deviation of what a perturbation adds to a factor
similarity.csv     cosine between perturbations; overlap.csv: the same of their masks
factor_genes.csv   genes that each factor raises and lowers most
*.png              clustered heat map, similarity map, genes of the most used factors
recovery.json      simulated screens only: areas under the ROC curve for the planted masks, beside
chance
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from absl import flags

from jaxpert.app.flags import UNDONE, guarded, leave, read_flags

PANELS, GENES = 6, 20


def main(argv: list[str]) -> int:
    """Return the exit status: 0 for done, 2 for bad input."""
    if {"--help", "-h", "--helpfull"} & set(argv):
        print(__doc__)
        return 0
    return guarded(lambda: interpret(argv), UNDONE)


def interpret(argv: list[str]) -> int:
    """Read the run, write everything, print the summary."""
    options = parse(argv)
    output = Path(options.output or Path(options.run) / "interpretation")
    check_folder(output)
    from jaxpert.app import reopen
    from jaxpert.models.cradle import interpret as interpretation

    finished = reopen.reopen(options.run, seed=options.seed)
    found = interpretation.interpret(finished.fitted, finished.dataset, draws=options.draws)
    recovery = (
        None if finished.truth is None else interpretation.recover_masks(found, finished.truth)
    )
    write(found, recovery, output)
    print(summary(found, recovery, output))
    return 0


def check_folder(output: Path) -> None:
    """Said before the work, not after it."""
    from jaxpert.core.types import InputError

    if output.exists() and not output.is_dir():
        raise InputError(f"--output={output} is a file, expected a folder: choose another")


def parse(argv: list[str]) -> Any:
    """The flags; InputError says what is wrong."""
    from jaxpert.core.types import InputError

    values = flags.FlagValues()
    flags.DEFINE_string("run", "", "", flag_values=values)
    flags.DEFINE_string("output", "", "", flag_values=values)
    flags.DEFINE_integer("draws", 100, "", lower_bound=2, flag_values=values)
    flags.DEFINE_integer("seed", 0, "", lower_bound=0, flag_values=values)
    read_flags(values, argv)
    if not values.run:
        raise InputError(
            "no --run was given, expected the work directory of a finished run, e.g. "
            "--run=runs/demo"
        )
    return values


def write(found: Any, recovery: Any, output: Path) -> None:
    """Write every file beside `output` first, then move them in: a failure leaves nothing
    half-written."""
    from jaxpert.core.types import InputError

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.part") as part:
            write_tables(found, Path(part))
            draw(found, Path(part))
            if recovery is not None:
                write_recovery(recovery, Path(part))
            # Those of an earlier call would pass for this one's where this call writes no such
            # file.
            for name in (
                "inclusion.csv",
                "overlap.csv",
                "recovery.json",
                "planted_programs.csv",
                "factor_genes.png",
            ):
                (output / name).unlink(missing_ok=True)
            output.mkdir(exist_ok=True)
            for path in sorted(Path(part).iterdir()):
                os.replace(path, output / path.name)
    except OSError as error:
        raise InputError(
            f"--output={output} cannot be written ({error}): choose another or free some space"
        ) from error


def write_tables(found: Any, folder: Path) -> None:
    """The tables as CSV."""
    found.perturbations.to_csv(folder / "perturbations.csv")
    found.factors.to_csv(folder / "factors.csv")
    long = found.embedding.rename_axis(columns="factor").stack().rename("mean").to_frame()
    long["sd"] = found.embedding_sd.stack().to_numpy()
    long.to_csv(folder / "embedding.csv")
    found.similarity.to_csv(folder / "similarity.csv")
    found.top_genes(GENES).to_csv(folder / "factor_genes.csv", index=False)
    if found.inclusion is not None:
        found.inclusion.to_csv(folder / "inclusion.csv")
        found.overlap.to_csv(folder / "overlap.csv")


def draw(found: Any, folder: Path) -> None:
    """The figures, of perturbations with training cells and of factors in use (of all factors where
    none is)."""
    from jaxpert.report import plots

    trained = found.perturbations.index[found.perturbations["learned"]]
    own = list(found.factors.index if len(found.factors) else found.embedding.columns)
    inclusion = None if found.inclusion is None else found.inclusion.loc[trained, own].to_numpy()
    overlap = None if found.overlap is None else found.overlap.loc[trained, trained].to_numpy()
    mean, cosine = (
        found.embedding.loc[trained, own].to_numpy(),
        found.similarity.loc[trained, trained].to_numpy(),
    )
    plots.effect_heatmap(mean, list(trained), own, folder / "embedding.png", inclusion)
    plots.similarity_map(cosine, list(trained), folder / "similarity.png", overlap)
    top = found.factors.iloc[:PANELS]
    if len(top):
        titles = [
            f"{factor} ({count} perturbations)" for factor, count in top["perturbations"].items()
        ]
        change = found.gene_change.loc[top.index].to_numpy()
        plots.factor_genes(
            change, titles, list(found.gene_change.columns), folder / "factor_genes.png"
        )


def write_recovery(recovery: Any, folder: Path) -> None:
    """Scores against the planted masks, and the matching of factors to programs."""
    from jaxpert.core.workdir import write_json

    scores = {"entries": recovery.entries, "pairs": recovery.pairs}
    write_json(
        folder / "recovery.json",
        {
            kind: {name: score._asdict() for name, score in of.items()}
            for kind, of in scores.items()
        },
    )
    recovery.programs.to_csv(folder / "planted_programs.csv")


def summary(found: Any, recovery: Any, output: Path) -> str:
    """What the tables say, in a few lines."""
    lines = [f"note: {note}" for note in found.notes]
    per = found.perturbations.loc[found.perturbations["learned"], "factors"]
    lines.append(
        f"{len(found.factors)} of {found.embedding.shape[1]} factors are in use; "
        f"a perturbation uses {per.median():.0f} (median; {per.min()} to {per.max()})"
    )
    genes = found.top_genes(4)
    for factor, row in found.factors.iloc[:PANELS].iterrows():
        of = genes[genes["factor"] == factor]
        up, down = (
            ", ".join(of.loc[of["direction"] == way, "gene"]) or "nothing" for way in ("up", "down")
        )
        lines.append(f"  {factor}: {row['perturbations']:.0f} perturbations; up {up}; down {down}")
    lines += most_alike(found.similarity.loc[per.index, per.index])
    if recovery is not None:
        lines.append(
            "planted masks, area under the ROC curve (95 % range of shuffled perturbations):"
        )
        lines += [
            f"  which program a perturbation moves, by {name}: {s}"
            for name, s in recovery.entries.items()
        ]
        lines += [
            f"  which perturbations share a program, by {name}: {s}"
            for name, s in recovery.pairs.items()
        ]
    return "\n".join([*lines, f"tables and figures: {output}"])


def most_alike(similarity: Any, pairs: int = 3) -> list[str]:
    """The most similar pairs of perturbations."""
    import numpy as np

    first, second = np.triu_indices(len(similarity), 1)
    values, names = similarity.to_numpy()[first, second], list(similarity.index)
    best = np.argsort(-values, kind="stable")[:pairs]
    shown = [f"{names[first[i]]} and {names[second[i]]} ({values[i]:.2f})" for i in best]
    return [f"most alike (cosine): {', '.join(shown)}"] if shown else []


if __name__ == "__main__":
    leave(main(sys.argv))
