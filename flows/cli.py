"""The command line: `overnight run`, `overnight show`, `overnight verify`, `overnight quarantine`, `overnight audit`, `overnight forget`,
`overnight evaluate`.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

import argparse
import atexit
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from data_contracts.errors import OvernightError, is_disk_full

DEFAULT_HOME = Path("overnight-home")
USER_ERROR, FAILURE, INTERRUPTED = 2, 1, 130
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 when it ended as designed."""
    options = _parser().parse_args(arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's stop ends a night as Ctrl-C does
    try:
        return int(options.command(options))
    except OvernightError as error:
        print(f"overnight: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("overnight: interrupted; run the same command again to go on from here", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        if not is_disk_full(error):
            raise
        print("overnight: the disk is full → free some space and run again; finished stages are kept", file=sys.stderr)
        return USER_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="overnight", description="Turns raw human comparisons into an audited, better-aligned model every night."
    )
    parser.add_argument("--version", action="version", version=f"overnight {version('overnight')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument("--home", type=Path, default=DEFAULT_HOME, metavar="DIR", help="where everything is kept (default: %(default)s)")
    home.add_argument(
        "--store",
        default=os.environ.get("OVERNIGHT_STORE"),
        metavar="URL",
        help="s3://BUCKET/PREFIX that the home shares with other machines from now on (default: OVERNIGHT_STORE, or none)",
    )

    run = commands.add_parser("run", parents=[home], help="run one night of a recipe")
    run.add_argument(
        "--recipe", default="built-in", metavar="FILE", help="a TOML file, or the name of a recipe that comes with the project"
    )
    run.add_argument("--data", type=Path, metavar="DIR", help="folder for the recipe's relative source and model paths")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a setting over the recipe's own")
    run.set_defaults(command=_run)

    show = commands.add_parser("show", parents=[home], help="list nights, artifacts and aliases, or one artifact with its lineage")
    show.add_argument("artifact", nargs="?", help="the first digits of an artifact's id, or an alias such as champion")
    show.set_defaults(command=_show)

    verify = commands.add_parser("verify", parents=[home], help="hash every artifact again and compare")
    verify.add_argument("artifact", nargs="?", help="only the artifact whose id begins so")
    verify.set_defaults(command=_verify)

    _add_forget(commands, home)
    _add_quarantine(commands, home)
    _add_audit(commands, home)
    _add_evaluate(commands, home)

    return parser


def _add_forget(commands: Commands, home: argparse.ArgumentParser) -> None:
    forget = commands.add_parser("forget", parents=[home], help="erase what an annotator said, a judgment or a prompt from everywhere")
    for what in ("annotator", "judgment", "prompt"):
        forget.add_argument(f"--{what}", action="append", default=[], metavar="ID", help=f"id of the {what}; may be given several times")
    forget.add_argument("--reason", default="", metavar="TEXT", help="kept in the tombstone; not to name anybody")
    forget.add_argument(
        "--key-variable",
        default="OVERNIGHT_PSEUDONYM_KEY",
        metavar="NAME",
        help="environment variable of the pseudonyms' key, where there are any",
    )
    forget.set_defaults(command=_forget)


def _add_quarantine(commands: Commands, home: argparse.ArgumentParser) -> None:
    quarantine = commands.add_parser("quarantine", parents=[home], help="why rows were refused; hands them out and takes them back")
    quarantine.add_argument("--source", help="only rows of this source")
    quarantine.add_argument("--reason", help="only rows refused for this reason")
    quarantine.add_argument("--examples", type=int, default=2, metavar="N", help="rows shown per reason (default: %(default)s)")
    quarantine.add_argument("--export", type=Path, metavar="DIR", help="write the refused rows to files there, to be mended")
    quarantine.add_argument("--mended", type=Path, metavar="DIR", help="take the rows of such a folder back in; needs --recipe")
    quarantine.add_argument("--recipe", metavar="FILE", help="with --mended: the recipe that the rows were refused under")
    quarantine.set_defaults(command=_quarantine)


def _add_evaluate(commands: Commands, home: argparse.ArgumentParser) -> None:
    evaluate = commands.add_parser(
        "evaluate", parents=[home], help="a stored model on a file from outside, in one of RewardBench's layouts"
    )
    evaluate.add_argument("what", choices=("reward-model",), help="kind of model")
    evaluate.add_argument("artifact", metavar="ID", help="the first digits of its id")
    evaluate.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="JSON lines or Parquet; docs/reward_bench.md has examples"
    )
    evaluate.add_argument("--rows", type=Path, metavar="FILE", help="write the scores of every row to this Parquet file")
    evaluate.set_defaults(command=_evaluate)


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


def _run(options: argparse.Namespace) -> int:
    from flows.run import run_night

    home = options.home.resolve()
    return run_night(
        options.recipe, home, store=options.store, data=options.data and options.data.resolve(), overrides=tuple(options.overrides)
    )


def _show(options: argparse.Namespace) -> int:
    from flows.show import show_all, show_artifact

    home = _existing(options)
    if options.artifact:
        show_artifact(home, options.artifact)
    else:
        show_all(home)
    return 0


def _forget(options: argparse.Namespace) -> int:
    from flows.forget import forget_and_tell

    ids = {"annotators": options.annotator, "judgments": options.judgment, "prompts": options.prompt}
    return forget_and_tell(_existing(options), ids, options.reason, options.key_variable)


def _verify(options: argparse.Namespace) -> int:
    from flows.show import verify_artifacts

    return FAILURE if verify_artifacts(_existing(options), options.artifact) else 0


def _quarantine(options: argparse.Namespace) -> int:
    from data_contracts.errors import RecipeError
    from flows.quarantine import show_quarantine, take_back_and_tell

    if options.mended is not None:
        if options.recipe is None:
            raise RecipeError("--mended takes rows back by a recipe", remedy="give the recipe that names their sources: --recipe NAME")
        take_back_and_tell(_existing(options), options.mended, options.recipe)
        return 0
    chosen = {"source": options.source, "reason": options.reason, "examples": options.examples, "export": options.export}
    show_quarantine(_existing(options), **chosen)
    return 0


def _audit(options: argparse.Namespace) -> int:
    from data_contracts.home import Home
    from flows import audit

    home = Home(_existing(options))
    if options.about == "annotator":
        audit.show_annotator(home, options.annotator)
    elif options.about == "sql":
        audit.answer(home, options.question, options.format)
    elif options.about == "views":
        audit.show_views(home, options.name)
    else:
        audit.show_summary(home)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from flows.evaluate import evaluate_reward_model

    evaluate_reward_model(_existing(options), options.artifact, options.data, options.rows)
    return 0


def _existing(options: argparse.Namespace) -> Path:
    """The home that a command reads, with what other machines put in the store that it shares."""
    from data_contracts.errors import InputError
    from data_contracts.home import Home
    from data_contracts.sharing.share import join

    root: Path = options.home.resolve()
    if options.store:
        join(root, options.store)
    if not root.is_dir():
        raise InputError("nothing has been run there", where=str(options.home), remedy="run `overnight run`, or give --home")
    Home(root).refresh()
    return root


def entry() -> None:
    """`main` as a process of its own: what is registered for the exit is run, and then the process ends at once.

    The server that Prefect starts for a night leaves a thread behind, which keeps DuckDB's objects alive through an ordinary
    exit; DuckDB's bindings then print pages about leaks that are none.
    """
    try:
        code = main()
    except Exception:  # ours, not the user's: it ends in a traceback
        traceback.print_exc()
        code = FAILURE
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    entry()
