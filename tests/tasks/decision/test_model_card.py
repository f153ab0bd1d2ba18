"""What a model card says of a model: texts from outside do no harm to it, and what is not known is among the limitations."""

from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.manifest import Identity
from tasks.decision.export import export_version, without_places
from tasks.decision.model_card import cell, interval, limitations


def win(part: str, n: int) -> dict[str, Any]:
    return {"slice": part, "figure": "win_rate_reference", "value": 0.6, "low": 0.5, "high": 0.7, "n": n}


def test_a_text_from_outside_stays_in_its_cell() -> None:
    assert cell("a|b\n# <b> `x`") == r"a\|b \# \<b\> \`x\`"


def test_a_figure_is_told_with_its_interval() -> None:
    assert interval(win("all", 9)) == "0.600 [0.500, 0.700]"
    assert interval({"value": None, "low": None, "high": None}) == "–"


def test_the_limitations_are_those_of_this_model(tmp_path: Path) -> None:
    def build(directory: Path) -> dict[str, int]:
        (directory / "x").write_text("x")
        return {"alarms": 2}

    identity = Identity(kind="policy", code_version="1", config={"validation_prompts": 8})
    policy = Home(tmp_path).artifacts.make(identity, build).artifact
    rules = [
        {"rule": "no_alarm_of_length_growth", "verdict": "warn", "reason": "3: not at most 0"},
        {"rule": "kl_within_budget", "verdict": "pass", "reason": "fine"},
    ]
    told = " ".join(limitations([win("all", 90), win("law", 19), win("code", 20)], rules, {"judge": {"accuracy": win("all", 9)}}, policy))
    assert "accuracy on held-out preferences is 0.600 [0.500, 0.700]" in told
    assert "rest on 90 held-out prompts" in told
    assert "fewer than 20 held-out prompts: law." in told
    assert "rule “no alarm of length growth” says warn: 3: not at most 0" in told
    assert "kl within budget" not in told
    assert "2 of the monitors" in told
    assert "chose among the states" in told
    assert "The judge is one model, and its own error is in no interval" in told
    several = " ".join(limitations([{**win("all", 90), "judge_half_width": 0.1}], rules, {}, policy))
    assert "one model" not in several


def test_settings_do_not_tell_where_things_lie() -> None:
    told = without_places({"base_model": {"source": "/home/kim/models/small"}, "rules": [{"remedy": "ask / wait"}], "seed": 3})
    assert told == {"base_model": {"source": "small"}, "rules": [{"remedy": "ask / wait"}], "seed": 3}


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    home = Home(tmp_path)

    def build(directory: Path) -> dict[str, int]:
        (directory / "x").write_text("x")
        return {}

    version = home.artifacts.make(Identity(kind="version", code_version="1"), build).artifact
    with pytest.raises(InputError, match="something already"):
        export_version(home, version, tmp_path / "there")
