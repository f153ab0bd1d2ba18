"""Code versions follow what is executed, across imports, and nothing else."""

from pathlib import Path

import pytest

from data_contracts import code_version as module
from data_contracts.code_version import plugin_version
from data_contracts.errors import RecipeError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two modules in a folder of its own, where the first one imports the second."""
    for name, text in {
        "models/__init__.py": "",
        "models/top.py": '"""Top."""\nfrom models.base import two\n\ndef f():\n    """Doc."""\n    return two()  # why\n',
        "models/base.py": "def two():\n    return 2\n",
        "models/other.py": "X = 1\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


def version() -> str:
    module._imports.cache_clear()
    module._source_hash.cache_clear()
    return module.code_version("models.top")


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("models/top.py", '"""Doc."""', '"""Other words."""', False),
        ("models/top.py", "# why", "# because", False),
        ("models/top.py", "return two()", "return two() + 1", True),
        ("models/base.py", "return 2", "return 3", True),
        ("models/other.py", "X = 1", "X = 2", False),
    ],
)
def test_what_changes_a_code_version(project: Path, file: str, old: str, new: str, changes: bool) -> None:
    before = version()
    path = project / file
    path.write_text(path.read_text().replace(old, new))
    assert (version() != before) == changes


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        module.code_version("models.nowhere")


def test_the_version_of_a_function_of_ones_own_follows_its_source_and_not_its_place(tmp_path: Path) -> None:
    source = "def reward(prompts, responses):\n    return [1.0] * len(responses)\n"
    places = [tmp_path / name for name in ("one", "other", "package")]
    for place in places:
        place.mkdir()
    (places[0] / "own.py").write_text(source)
    (places[1] / "own.py").write_text("# As before.\n" + source)
    assert plugin_version("own", places[0]) == plugin_version("own", places[1])
    (places[1] / "own.py").write_text(source.replace("1.0", "2.0"))
    assert plugin_version("own", places[0]) != plugin_version("own", places[1])
    package = places[2] / "mine"
    package.mkdir()
    for name in ("__init__", "rewards", "helper"):
        (package / f"{name}.py").write_text("raise RuntimeError('imported')\n")
    before = plugin_version("mine.rewards", places[2])
    (package / "helper.py").write_text("x = 1\n")
    assert plugin_version("mine.rewards", places[2]) != before
    with pytest.raises(RecipeError, match="no module absent"):
        plugin_version("absent", places[0])
