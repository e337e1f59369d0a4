"""Public screens by name: found in the data folder, else downloaded once and checked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.core.paths import data_folder, path_of
from jaxpert.core.types import Dataset, InputError
from jaxpert.data import screens
from jaxpert.data.files import shown
from jaxpert.data.read import read


class Source(NamedTuple):
    """Where a public screen comes from and how it is prepared."""

    url: str
    origin: str
    size: str
    prepare: Callable[..., Dataset]
    """(path, doublets) -> Dataset."""
    known_hash: str | None = None
    """"algorithm:digest" as stated by the publisher or recorded by others; None where unknown."""


SOURCES = {
    "norman": Source(
        "https://ndownloader.figshare.com/files/34027562",
        "Norman et al. 2019, GSE133344",
        "about 0.7 GB",
        screens.norman,
        "sha256:b679c157fea550ef5be4dad91da9dff1f5d8287313ad3f3537f6cf14d4bcd434",
    ),
    "dixit": Source(
        "https://ndownloader.figshare.com/files/34011689",
        "Dixit et al. 2016, GSE90063",
        "about 2.5 GB",
        screens.dixit,
    ),
    "replogle": Source(
        "https://plus.figshare.com/ndownloader/files/35775507",
        "Replogle et al. 2022, K562 genome-wide",
        "65.8 GB",
        screens.replogle,
        "md5:887e3e6a8c8df6eadf7a3030a53c9546",
    ),
    "adamson": Source(
        "https://zenodo.org/records/7041849/files/AdamsonWeissman2016_GSM2406681_10X010.h5ad",
        "Adamson et al. 2016, GSM2406681",
        "about 0.5 GB",
        screens.adamson,
    ),
}
"""Public names; each file is kept as <name>.h5ad in the data folder."""
ANNOTATIONS = (
    "https://current.geneontology.org/annotations/goa_human.gaf.gz",
    "Gene Ontology annotations of human genes, CC BY 4.0",
    "about 15 MB",
)
"""Where they come from, what they are, and how large."""


def load(
    source: Any,
    folder: str | Path | None = None,
    *,
    doublets: str = "scrublet",
    **read_options: Any,
) -> Dataset:
    """Return the data set of a public name (norman, dixit, replogle, adamson), a file or an AnnData
    object.

    Args:
      source: name, path or AnnData.
      folder: data folder of the public files; None is $JAXPERT_DATA, else the user's cache folder.
      doublets: how doublets are called where that has to be done before cells are left out
          (adamson).
      **read_options: those of `read`, for paths and AnnData. Public screens are read by their own
        rules; options that are given with them are named in a note.

    Example:
        cells = jaxpert.load_screen("screen.h5ad", perturbation="gene")
    """
    if isinstance(source, str) and source in SOURCES:
        dataset = SOURCES[source].prepare(locate(source, folder), doublets=doublets)
        options = shown((f"data.{key}" for key in read_options), 20)
        note = f"the public screen {source!r} is read by its own rules: {options} do not apply"
        return replace(
            dataset, name=source, notes=(*dataset.notes, note) if read_options else dataset.notes
        )
    # A word without ending or folder is meant as a name, so the answer lists the names.
    if (
        isinstance(source, str)
        and not Path(source).suffix
        and not path_of(source).exists()
        and os.sep not in source
    ):
        raise InputError(
            f"data.source is {source!r}, expected a file or a public name: give the path of an "
            f".h5ad file or one of {shown(SOURCES)}"
        )
    return read(source, folder=folder, **read_options)


def locate(name: str, folder: str | Path | None = None) -> Path:
    """Return the local file of a public name, downloading it where it is absent.

    The SHA-256 digest and size of a download are recorded beside it; a file whose size differs from
    its record is an `InputError`, and so is a download without a network.
    """
    path = data_folder(folder) / f"{name}.h5ad"
    if not path.exists():
        source = SOURCES[name]
        demo = "run the variant :demo of the config, whose cells are simulated"
        _download(source.url, f"{source.origin}, {source.size}", path, demo, source.known_hash)
    record = path.with_suffix(".h5ad.sha256")
    # By size, since the digest of 65 GB would take minutes at every start.
    size = str(path.stat().st_size)
    recorded = record.read_text(errors="replace").split()[1:2] if record.exists() else [size]
    if recorded != [size]:
        raise InputError(
            f"{path} has {size} bytes but {''.join(recorded) or 'none'} were downloaded, expected "
            f"an unchanged file: delete {path} and {record.name}, and it will be fetched again"
        )
    return path


def locate_annotations(folder: str | Path | None = None) -> Path:
    """Return the local file of the human gene annotations, downloading it where it is absent."""
    path = data_folder(folder) / "goa_human.gaf.gz"
    if not path.exists():
        url, what, size = ANNOTATIONS
        instead = (
            "give another annotation file as graphs.ontology, or run the `demo` variant of the "
            "config"
        )
        _download(url, f"{what}, {size}", path, instead)
    return path


def _download(url: str, what: str, path: Path, instead: str, known_hash: str | None = None) -> None:
    """Fetch a file with a progress bar, check it, and record its digest and size beside it."""
    import pooch

    by_hand = f"fetch {url} ({what}) elsewhere and put it at {path}, or {instead}"
    # A bar only where somebody watches: a log would fill up with its lines.
    downloader: Any = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=60)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(
            url, known_hash=known_hash, fname=path.name, path=path.parent, downloader=downloader
        )
    except ValueError as error:
        raise InputError(
            f"the download of {path.name} was discarded, expected the digest {known_hash}: try "
            f"again, or {by_hand}"
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"{path.name} is not at {path} and could not be downloaded ({reason}), expected it "
            f"there: {by_hand}"
        ) from error
    # Recorded also where the publisher states none, so that later changes show.
    digest = pooch.file_hash(str(path), alg="sha256")
    path.with_suffix(f"{path.suffix}.sha256").write_text(f"{digest} {path.stat().st_size} {url}\n")
