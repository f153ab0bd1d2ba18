"""Commands on the feedback itself: `overnight quarantine`, `overnight forget`."""

import argparse
from pathlib import Path

from data_contracts.errors import InputError, RecipeError
from flows.commands.common import FAILURE, Commands, existing_home


def add(commands: Commands, home: argparse.ArgumentParser) -> None:
    """Add the commands that hand rows out, take them back, and erase them."""
    quarantine = commands.add_parser("quarantine", parents=[home], help="why rows were refused; hands them out and takes them back")
    quarantine.add_argument("--source", help="only rows of this source")
    quarantine.add_argument("--reason", help="only rows refused for this reason")
    quarantine.add_argument("--examples", type=int, default=2, metavar="N", help="rows shown per reason (default: %(default)s)")
    quarantine.add_argument("--export", type=Path, metavar="DIR", help="write the refused rows to files there, to be mended")
    quarantine.add_argument("--mended", type=Path, metavar="DIR", help="take the rows of such a folder back in; needs --recipe")
    quarantine.add_argument("--recipe", metavar="FILE", help="with --mended: the recipe that the rows were refused under")
    quarantine.set_defaults(command=_quarantine)

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


def _quarantine(options: argparse.Namespace) -> int:
    from flows.quarantine import show_quarantine, take_back_and_tell

    if options.mended is not None:
        if options.recipe is None:
            raise RecipeError("--mended takes rows back by a recipe", remedy="give the recipe that names their sources: --recipe NAME")
        return 0 if take_back_and_tell(existing_home(options), options.mended, options.recipe) else FAILURE
    chosen = {"source": options.source, "reason": options.reason, "examples": options.examples, "export": options.export}
    show_quarantine(existing_home(options), **chosen)
    return 0


def _forget(options: argparse.Namespace) -> int:
    from flows.forget import forget_and_tell

    ids = {"annotators": options.annotator, "judgments": options.judgment, "prompts": options.prompt}
    if not any(ids.values()):
        raise InputError("forget what?", remedy="give --annotator ID, --judgment ID or --prompt ID")
    return forget_and_tell(existing_home(options), ids, options.reason, options.key_variable)
