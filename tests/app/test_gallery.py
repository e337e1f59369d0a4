"""Which family a folder belongs to is read from its config, whatever stands there."""

import json

import pytest

from jaxpert.app import cli, gallery
from jaxpert.core.types import InputError


def config_json(folder, content):
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "model", ["cradle_vae", None, 3, ["gears"], {}, {"name": None}, {"name": ["x"]}, {"name": "x"}]
)
def test_configs_without_a_known_model_are_refused(model, tmp_path, capsys):
    folder = config_json(tmp_path, {"model": model})
    with pytest.raises(InputError, match="names no model that is known, expected one of .*gears"):
        gallery.family_of_run(folder)
    assert cli.main(["figures", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_family_of_a_config(tmp_path):
    assert (
        gallery.family_of_run(config_json(tmp_path, {"model": {"name": "gears"}})).name == "gears"
    )
    with pytest.raises(InputError, match="names no model"):
        gallery.family_of_run(config_json(tmp_path, {}))
