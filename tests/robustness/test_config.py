"""A sample of `fuzz_config`, whose cases all hold when it runs to its end."""

import pytest

from robustness import fuzz_config
from robustness.config_rules import NEEDED, Key, Rule, allows

FAULTS = ("tracebacks", "silent", "differences")


def test_a_sample_of_odd_values():
    """Every key that is missing in the rules fails here too: cases are made of all of them."""
    result = fuzz_config.main(4, 0)
    assert {fault: result[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, [])
    # Slow machines get through fewer of them than there are keys.
    assert result["cases"] > 40 and result["keys"] > 400
    assert 0.5 < result["refused"] / result["cases"] < 1


def test_the_campaign_sees_faults(monkeypatch):
    """Checks that take everything, or that raise another error, are found out."""
    monkeypatch.setattr(fuzz_config.settings, "check", lambda *_: None)
    monkeypatch.setattr(fuzz_config.settings, "_check_value", lambda *_: None)
    assert fuzz_config.main(1, 1)["silent"]

    def broken(*_):
        raise KeyError("x")

    monkeypatch.setattr(fuzz_config.config, "read", broken)
    assert fuzz_config.main(1, 1)["tracebacks"]


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        (Rule(1, 9, True), (1, 9), (0, 10, 1.0, True, "1", None)),
        (Rule(0, 1, ends="[)"), (0, 0.5), (1, float("nan"), 1e-320)),
        (Rule(0, float("inf")), (0, 1e30), (float("inf"), 10**400, -1)),
    ],
)
def test_rules(rule, yes, no):
    assert all(map(rule.allows, yes)) and not any(map(rule.allows, no))


def test_rules_of_texts():
    keys = {key.path: key for key in fuzz_config.keys_of(raw(), "gears")}
    assert isinstance(keys["data.source"], Key)
    assert allows(keys["data.source"], "x" * 5_000) and not allows(keys["data.source"], " ")
    assert allows(keys["data.layer"], "") and not allows(keys["data.layer"], "a\tb")
    assert not allows(keys["graphs.aspects"], "") and allows(keys["graphs.aspects"], "P,C")


def test_lists_without_which_nothing_is_read_are_refused_empty():
    tried = [
        case
        for case in fuzz_config.cases()
        if case.key.many and case.key.name in NEEDED and case.value in ("", " ")
    ]
    assert {"data.control", "data.vehicle"} <= {case.key.path for case in tried}
    for case in tried:
        kind, said = fuzz_config.verdict(case)
        assert not kind and "expected" in said, (case.road, case.key.path)


def raw():
    return fuzz_config.training.load_config(fuzz_config.training.configs()["gears_norman"], "test")


def test_defaults_are_within_their_ranges():
    """Reading a config checks what it gives, and takes the rest as it is."""
    for model in fuzz_config.CONFIGS:
        fuzz_config.settings.check(fuzz_config.settings_of(model)(), "model.kwargs")
        fuzz_config.settings.check(fuzz_config.families.keys_of(model)())
    for preset in fuzz_config.PRESETS.values():
        fuzz_config.settings.check(preset, "simulation")
