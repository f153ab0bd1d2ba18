"""The reference pages, written from the definitions that the code runs by: `python -m flows.reference`."""

import ast
import inspect
import re
from collections.abc import Mapping
from itertools import starmap, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from types import UnionType
from typing import Any, Union, get_args, get_origin

import duckdb
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from data_contracts.audit.build import rebuild_audit_database
from data_contracts.audit.catalog import relations
from data_contracts.audit.definitions import Definition, definitions
from data_contracts.audit.kinds import OWN_TABLES
from data_contracts.audit.records import QUARANTINE_STATE
from data_contracts.audit.training_metrics import ALL_TRAINING_METRICS, TRAINING_METRICS
from data_contracts.home import Home
from data_contracts.policy_figures import EVALUATION_FIGURES, REWARD_MODEL_FIGURES, TRAINING_FIGURES, figures_by_function, figures_by_judge
from data_contracts.quality_figures import FLAGS, QUALITY_FIGURES, SLICE_KINDS
from data_contracts.records import MESSAGES, RECORD_KINDS, Column, RecordKind
from flows.recipe import Recipe
from tasks.sources import AUTO, FORMATS, places

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FOLDERS = ("flows", "tasks", "models", "data_contracts", "benchmarks")
SUFFIXES = (".py", ".sql", ".toml", ".j2")
FILES_HEADING = "## Files\n"
NAMES = {
    "kinds of slices": SLICE_KINDS,
    "figures of feedback quality": QUALITY_FIGURES,
    "flags of annotators": FLAGS,
    "figures of the evaluation": EVALUATION_FIGURES,
    "figures of a judge of the recipe": figures_by_judge("NAME"),
    "figures of a function of the recipe": figures_by_function("NAME"),
    "figures of a reward model or judge": REWARD_MODEL_FIGURES,
    "figures of the policy's training": TRAINING_FIGURES,
}
MADE_BY = "<!-- written by `make docs` from the code; do not edit -->\n"


def glossary() -> str:
    """`docs/glossary.md`: every record kind with its grain, key and columns."""
    intro = "# Glossary\n\nThe records that are handed between stages, one word per concept.\n"
    return "\n".join([MADE_BY, intro, *map(_record_section, RECORD_KINDS), *starmap(_names_section, NAMES.items())])


def _names_section(title: str, names: Mapping[str, str]) -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in names.items()]
    return "\n".join([f"## {title}", "", "| name | meaning |", "|---|---|", *rows, ""])


def _record_section(kind: RecordKind) -> str:
    rows = [f"| `{c.name}` | {_column_type(c)} | {_optional(c.nullable)} | {c.description}{_allowed(c.allowed)} |" for c in kind.columns]
    key = ", ".join(f"`{name}`" for name in kind.key)
    return "\n".join(
        [
            f"## {kind.name}",
            "",
            f"{kind.grain[0].upper()}{kind.grain[1:]}. Key: {key}.",
            "",
            "| column | type | | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _column_type(column: Column) -> str:
    return "messages" if column.type == MESSAGES else str(column.type)


def _optional(nullable: bool) -> str:
    return "may be null" if nullable else ""


def _allowed(values: tuple[str, ...]) -> str:
    return f" ({', '.join(f'`{value}`' for value in values)})" if values else ""


def audit_tables() -> str:
    """`docs/audit_tables.md`: what the audit database holds, as the comments in an empty one say it."""
    intro = (
        "# Tables of the audit database\n\n[audit.md](audit.md) has questions and queries. Here stands everything that can be asked, with\n"
        "what one row is, and below the columns of what is the database's own; those of records are in [glossary.md](glossary.md).\n"
    )
    with TemporaryDirectory() as folder, duckdb.connect(rebuild_audit_database(Home(Path(folder))), read_only=True) as connection:
        known = {one.name: one for one in relations(connection)}
    defined = [_definition_section(known[one.name].call, one) for one in definitions()]
    own = map(_record_section, (*OWN_TABLES, QUARANTINE_STATE, TRAINING_METRICS, ALL_TRAINING_METRICS))
    rows = [f"| `{one.call}` | {one.what} | {one.grain.partition('. Columns: ')[0]} |" for one in known.values()]
    table = "\n".join(["| name | what | |", "|---|---|---|", *rows, ""])
    return "\n".join([MADE_BY, intro, table, *defined, *own])


def _definition_section(call: str, one: Definition) -> str:
    rows = [f"| `{column}` | {meaning} |" for column, meaning in one.columns.items()]
    key = ", ".join(f"`{name}`" for name in one.key)
    about = f"{one.grain[0].upper()}{one.grain[1:]}. Key: {key}."
    return "\n".join([f"## {call}", "", about, "", "| column | meaning |", "|---|---|", *rows, ""])


def settings() -> str:
    """`docs/recipes.md`: every setting of a recipe with its default, range and meaning."""
    intro = (
        "# Recipes\n\nA recipe is one TOML file and one complete run. `overnight run --recipe FILE` takes a file or the name of a\n"
        "recipe that comes with the project (`flows/recipes/`); `--set KEY=VALUE` puts one setting over it. Relative paths of\n"
        "sources and models are looked up in the folder that `--data` names, else in the recipe's `data`, else beside the recipe.\n"
        "An unknown key is an error that names it. Every setting, with its default:\n"
    )
    return "\n".join([MADE_BY, intro, _table("the top level", Recipe, ""), *_sections(Recipe, "")])


def _sections(model: type[BaseModel], prefix: str) -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        inner_models = _models_in(field.annotation)
        for inner, many in inner_models:
            path = f"{prefix}{name}"
            title, about = f"`[[{path}]]`" if many else f"`{path}`", field.description or ""
            if len(inner_models) > 1:
                title, about = f"{title} with {_methods(inner)}", inspect.getdoc(inner) or ""
            found += [_table(title, inner, about), *_sections(inner, f"{path}.")]
    return found


def _methods(model: type[BaseModel]) -> str:
    """The values of `method`, or of `kind`, that choose this one among several config classes."""
    name = "method" if "method" in model.model_fields else "kind"
    return f"{name} = " + " or ".join(f"`{value}`" for value in get_args(model.model_fields[name].annotation))


def _models_in(annotation: Any, many: bool = False) -> list[tuple[type[BaseModel], bool]]:
    """The config classes in an annotation, and whether they stand in a list there."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(annotation, many)]
    inside = many or get_origin(annotation) in (tuple, list)
    return [found for part in get_args(annotation) for found in _models_in(part, inside)]


def _table(title: str, model: type[BaseModel], about: str) -> str:
    rows = [_row(name, field) for name, field in model.model_fields.items() if not _models_in(field.annotation)]
    if not rows:
        return f"## {title}\n\n{about}\n"
    return "\n".join([f"## {title}", "", about, "", "| setting | default | range | meaning |", "|---|---|---|---|", *rows, ""])


def _row(name: str, field: FieldInfo) -> str:
    default = (
        "required"
        if field.default is PydanticUndefined and field.default_factory is None
        else f"`{field.get_default(call_default_factory=True)!r}`"
    )
    return f"| `{name}` | {default} | {_range(field)} | {field.description} |".replace("{' ", "{'")


def _range(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {getattr(rule, key)}" for rule in field.metadata for key, sign in signs.items() if getattr(rule, key, None) is not None
    ]
    return ", ".join(bounds) or _type_name(field.annotation)


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_type_name(part) for part in get_args(annotation) if part is not type(None))
    if annotation is not None and str(get_origin(annotation)) == "typing.Literal":
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    return getattr(annotation, "__name__", str(annotation))


def sources() -> str:
    """`docs/sources.md`: every format that feedback is read from, with an example row and what it gives."""
    intro = (
        "# Sources\n\nA source of feedback is a `path` and a `format` in the recipe's `[[ingest.sources]]`. Without a format, or with\n"
        f'`format = "{AUTO}"`, it is told from the source\'s first rows; where none fits, or several do, that is an error.\n'
        "A row that cannot be used is quarantined with its reason and costs no other row. A file that cannot be read is an error.\n"
    )
    rows = [f"| [`{name}`](#{name}) | {form.detected_by} |" for name, form in FORMATS.items()]
    table = "\n".join(["| format | told by |", "|---|---|", *rows, ""])
    sections = [f"## {name}\n\n{inspect.cleandoc(form.about)}\n" for name, form in FORMATS.items()]
    return "\n".join([MADE_BY, intro, table, f"## Paths\n\n{inspect.cleandoc(places.__doc__ or '')}\n", *sections])


def architecture() -> str:
    """`docs/architecture.md`: what stands above the file tree stays, the tree is written anew."""
    above = (DOCS / "architecture.md").read_text().partition(FILES_HEADING)[0]
    return f"{above}{FILES_HEADING}\n{MADE_BY}\n{file_tree()}"


def ppo_details() -> str:
    """`docs/ppo_details.md`: the page stays as it is, its links lead to the lines where what they name stands now."""
    return re.sub(r"\[`([^`\]]+)`\]\(\.\./([^)#]+)#L\d*\)", _line_link, (DOCS / "ppo_details.md").read_text())


def _line_link(link: re.Match[str]) -> str:
    """A link to the line that defines its text, or else to the first that holds it."""
    text, path = link.groups()
    lines = (ROOT / path).read_text().splitlines()
    defining = re.compile(rf"\s*(def|class) {re.escape(text)}\b|\s*{re.escape(text)}:? ")
    found = [number for number, line in enumerate(lines, 1) if defining.match(line)] or [
        n for n, line in enumerate(lines, 1) if text in line
    ]
    if not found:
        raise ValueError(f"docs/ppo_details.md links to {text!r}, which does not stand in {path}")
    return f"[`{text}`](../{path}#L{found[0]})"


def file_tree() -> str:
    """One line per source file: its path and the first sentence of its docstring or comment."""
    lines = []
    for folder in FOLDERS:
        for place in sorted([ROOT / folder, *(path for path in (ROOT / folder).rglob("*") if path.is_dir())]):
            files = sorted(path for path in place.iterdir() if path.suffix in SUFFIXES and path.name != "__init__.py")
            if files:
                about = place / "__init__.py"
                heading = f"**{place.relative_to(ROOT).as_posix()}/** {_purpose(about) if about.exists() else ''}".rstrip()
                lines += [heading + "\n", "| file | its one job |", "|---|---|"]
                lines += [f"| `{path.name}` | {_purpose(path)} |" for path in files] + [""]
    return "\n".join(lines)


def _purpose(path: Path) -> str:
    """The first paragraph of a file's docstring, or of the comment that it begins with."""
    text = path.read_text()
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    else:
        lines = takewhile(lambda line: line.startswith(("#", "--", "{#", "<!--")), text.splitlines())
        text = " ".join(line.strip("#-{}<!> ") for line in lines)
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "/")


PAGES = {
    "glossary.md": glossary,
    "audit_tables.md": audit_tables,
    "recipes.md": settings,
    "sources.md": sources,
    "architecture.md": architecture,
    "ppo_details.md": ppo_details,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
