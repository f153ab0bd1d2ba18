"""The code version of a stage: a hash of the source that decides its result, without comments and docstrings."""

import ast
import hashlib
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from data_contracts.errors import RecipeError

ROOT = Path(__file__).parents[1]
PROJECT_PACKAGES = ("data_contracts", "models", "tasks")
PLUMBING = frozenset(
    {
        "data_contracts.artifact_store",
        "data_contracts.code_version",
        "data_contracts.errors",
        "data_contracts.manifest",
        "data_contracts.sharing",
        "data_contracts.sharing.bucket",
        "data_contracts.sharing.lease",
        "data_contracts.sharing.mirror",
        "data_contracts.sharing.share",
        "models.__main__",
        "models.config_parts",
        "models.configs",
        "models.jobs",
        "models.lifeline",
        "models.measure_configs",
        "models.policy_configs",
        "models.progress",
        "models.reward_terms",
        "tasks.progress",
        "tasks.stage",
        "tasks.learning.training",
        "tasks.learning.worker",
    }
)
"""Modules that carry results and cannot change them (a config's values are part of the identity): editing one makes nothing anew."""


def code_version(*modules: str) -> str:
    """Hash of the named modules and of every project module that they import, directly or not.

    Comments, docstrings and layout do not count; everything else does, so a stage whose code changed is made anew without
    anyone having to remember a version number.
    """
    seen: set[str] = set()
    queue = list(modules)
    while queue:
        module = queue.pop()
        if module not in seen and module not in PLUMBING:
            seen.add(module)
            queue += _imports(module)
    parts = [f"{module} {_source_hash(module)}" for module in sorted(seen)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def plugin_version(module: str, folder: Path | None) -> str:
    """Hash of a module that a recipe names, without importing it: of its file, or of all Python files of the package that it is in.

    Comments and docstrings do not count, nor what else the module imports.

    Raises:
        RecipeError: there is no such module in the folder, or, without one, among what Python can import.
    """
    top = module.partition(".")[0]
    found = PathFinder.find_spec(top, None if folder is None else [str(folder)])
    where = "" if found is None else found.origin or ""
    if not where.endswith(".py"):
        place = "Python's own path" if folder is None else str(folder)
        raise RecipeError(
            f"there is no module {module} with its source", where=place, remedy="correct its name, or the folder that it is in"
        )
    own = Path(where)
    files = sorted(own.parent.rglob("*.py")) if found is not None and found.submodule_search_locations else [own]
    parts = [f"{path.relative_to(own.parent).as_posix()} {_hash(ast.parse(path.read_text()))}" for path in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@cache
def _imports(module: str) -> tuple[str, ...]:
    """The project modules that a module imports, at its top or inside a function."""
    found = []
    for node in ast.walk(_tree(module)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found += [name for name in names if name.partition(".")[0] in PROJECT_PACKAGES and _file(name)]
    return tuple(found)


@cache
def _source_hash(module: str) -> str:
    return _hash(_tree(module))


def _hash(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [child for child in node.body if not _is_docstring(child)] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _file(module: str) -> Path | None:
    """The source file of a project module, looked up by path: importing it would import its parents."""
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)


def _tree(module: str) -> ast.Module:
    path = _file(module)
    if path is None:
        raise ModuleNotFoundError(f"no source file for module {module!r}")
    return ast.parse(path.read_text())
