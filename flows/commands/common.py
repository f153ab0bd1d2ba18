"""What every command takes, and how it finds the home that it reads."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from data_contracts.errors import InputError

if TYPE_CHECKING:
    from pydantic import ValidationError

DEFAULT_HOME = Path("overnight-home")
USER_ERROR, FAILURE, STOPPED, INTERRUPTED = 2, 1, 3, 130
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def home_options() -> argparse.ArgumentParser:
    """The options that name the home; a parent of every command."""
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument("--home", type=Path, default=DEFAULT_HOME, metavar="DIR", help="where everything is kept (default: %(default)s)")
    home.add_argument(
        "--store",
        default=os.environ.get("OVERNIGHT_STORE"),
        metavar="URL",
        help="s3://BUCKET/PREFIX that the home shares with other machines from now on (default: OVERNIGHT_STORE, or none)",
    )
    return home


def refused(error: "ValidationError", otherwise: str = "options") -> InputError:
    """What is wrong with the command line, option by option; `otherwise` stands for what no single option is wrong about."""
    from flows.recipe import in_words

    return InputError("; ".join(f"{'.'.join(map(str, one['loc'])) or otherwise}: {in_words(one)}" for one in error.errors()))


def existing_home(options: argparse.Namespace) -> Path:
    """The home that a command reads, with what other machines put in the store that it shares.

    Raises:
        InputError: there is none.
    """
    from data_contracts.home import Home
    from data_contracts.sharing.share import join

    root: Path = options.home.resolve()
    if options.store:
        join(root, options.store)
    if not root.is_dir():
        raise InputError("nothing has been run there", where=str(options.home), remedy="run `overnight run`, or give --home")
    Home(root).refresh()
    return root
