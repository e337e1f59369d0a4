"""Public names: found, downloaded, or explained. No test goes to the network."""

import pooch
import pytest

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data import sources


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXPERT_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_args, **_kwargs):
        import requests

        raise requests.exceptions.ConnectionError("Max retries exceeded\nwith url")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", refuse)


@pytest.mark.parametrize("name", ["norman", "dixit", "replogle", "adamson"])
def test_without_a_network_the_error_says_what_to_do(folder, offline, name):
    with pytest.raises(InputError) as caught:
        data.load(name)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        sources.SOURCES[name].url,
        str(folder / f"{name}.h5ad"),
        "the variant :demo of the config",
    ):
        assert part in message
    assert list(folder.iterdir()) == []


def test_download_is_recorded_and_a_changed_file_refused(folder, monkeypatch, screen, labels):
    screen(labels).write_h5ad(folder / "made")
    monkeypatch.setitem(
        sources.SOURCES, "small", sources.Source("https://x.org/f", "made here", "1 kB", None)
    )
    monkeypatch.setattr(
        pooch.HTTPDownloader, "__call__", lambda self, url, out, *_: _copy(folder / "made", out)
    )
    path = sources.locate("small")
    assert path == folder / "small.h5ad" and path.read_bytes() == (folder / "made").read_bytes()
    digest, size, url = (folder / "small.h5ad.sha256").read_text().split()
    assert (
        digest == pooch.file_hash(str(path))
        and int(size) == path.stat().st_size
        and url == "https://x.org/f"
    )
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="has 100 bytes but"):
        sources.locate("small")


def test_wrong_digest_is_discarded(folder, monkeypatch):
    wrong = sources.Source("https://x.org/f", "made here", "1 kB", None, "sha256:" + "0" * 64)
    monkeypatch.setitem(sources.SOURCES, "small", wrong)
    (folder / "made").write_bytes(b"other")
    monkeypatch.setattr(
        pooch.HTTPDownloader, "__call__", lambda self, url, out, *_: _copy(folder / "made", out)
    )
    with pytest.raises(InputError, match="was discarded, expected the digest"):
        sources.locate("small")
    assert not (folder / "small.h5ad").exists()


def test_unwritable_folder(tmp_path, offline):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be downloaded"):
        data.load("norman", folder=tmp_path / "file")


def test_paths_and_unknown_names(tmp_path, screen, labels):
    screen(labels).write_h5ad(tmp_path / "mine.h5ad")
    assert data.load(str(tmp_path / "mine.h5ad"), control="ctrl").name == "mine"
    with pytest.raises(
        InputError, match="expected a file or a public name.*norman, dixit, replogle, adamson"
    ):
        data.load("norrman")


def test_default_folder_is_a_cache(monkeypatch):
    monkeypatch.delenv("JAXPERT_DATA", raising=False)
    assert sources.data_folder().name == "jaxpert"


def _copy(source, out):
    out = out.name if hasattr(out, "name") else out
    with open(out, "wb") as file:
        file.write(source.read_bytes())
