"""Commands that read a home: `overnight show`, `overnight verify`, `overnight audit`."""

import argparse
from pathlib import Path

from data_contracts.errors import InputError
from flows.commands.common import FAILURE, Commands, existing_home


def add(commands: Commands, home: argparse.ArgumentParser) -> None:
    """Add the commands that change nothing."""
    show = commands.add_parser("show", parents=[home], help="list nights, artifacts and aliases, or one artifact with its lineage")
    show.add_argument("artifact", nargs="?", help="the first digits of an artifact's id, or an alias such as champion")
    show.add_argument("--json", action="store_true", help="its whole manifest: configuration, inputs, every file with its hash")
    show.set_defaults(command=_show)

    verify = commands.add_parser("verify", parents=[home], help="hash every artifact again and compare")
    verify.add_argument("artifact", nargs="?", help="only the artifact whose id begins so")
    verify.set_defaults(command=_verify)
    _add_audit(commands, home)


def _add_audit(commands: Commands, home: argparse.ArgumentParser) -> None:
    """`overnight audit` and what stands below it; an option given before the inner command is not put back to its default after it."""
    audit = commands.add_parser("audit", parents=[home], help="what the audit database says: a summary, one annotator, or any question")
    audit.set_defaults(command=_audit, about="summary")
    below = argparse.ArgumentParser(add_help=False)
    below.add_argument("--home", type=Path, default=argparse.SUPPRESS, metavar="DIR", help=argparse.SUPPRESS)
    questions = audit.add_subparsers(metavar="QUESTION")
    annotator = questions.add_parser("annotator", parents=[below], help="all about one annotator")
    annotator.add_argument("annotator", metavar="ID")
    annotator.set_defaults(about="annotator")
    sql = questions.add_parser("sql", parents=[below], help="the answer to a `select`; the database is not written")
    sql.add_argument("question", metavar="SELECT")
    sql.add_argument("--format", choices=("table", "csv", "json"), default="table", help="`csv` and `json` give every row, for machines")
    sql.set_defaults(about="sql")
    views = questions.add_parser("views", parents=[below], help="what can be asked: every table, view and macro, and what a row of it is")
    views.add_argument("name", nargs="?", help="the columns of this one")
    views.set_defaults(about="views")


def _show(options: argparse.Namespace) -> int:
    from flows.show import show_all, show_artifact

    home = existing_home(options)
    if options.json and not options.artifact:
        raise InputError("--json shows one artifact, and none is named", remedy="`overnight show ID --json`")
    if options.artifact:
        show_artifact(home, options.artifact, whole=options.json)
    else:
        show_all(home)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from flows.show import verify_artifacts

    return FAILURE if verify_artifacts(existing_home(options), options.artifact) else 0


def _audit(options: argparse.Namespace) -> int:
    from data_contracts.home import Home
    from flows import audit

    home = Home(existing_home(options))
    if options.about == "annotator":
        audit.show_annotator(home, options.annotator)
    elif options.about == "sql":
        audit.answer(home, options.question, options.format)
    elif options.about == "views":
        audit.show_views(home, options.name)
    else:
        audit.show_summary(home)
    return 0
