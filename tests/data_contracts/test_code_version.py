"""Code versions follow what is executed, across imports, and nothing else."""

from pathlib import Path

import pytest

from data_contracts import code_version as module


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
