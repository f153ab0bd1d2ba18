"""Commands on versions: to decide about them, to give them away, to ask them and to compare them."""

import argparse
import getpass
import sys
from pathlib import Path

from flows.commands.common import Commands, existing_home

VERSION = "an alias such as candidate or RECIPE/candidate, or the first digits of the id of a version or of its policy"


def add(commands: Commands, home: argparse.ArgumentParser) -> None:
    """Add the commands that take a version."""
    _add_decisions(commands, home)
    export = commands.add_parser("export", parents=[home], help="a version as a plain Hugging Face model directory with its model card")
    export.add_argument("version", help=VERSION)
    export.add_argument("--to", type=Path, required=True, metavar="DIR", help="a directory that is empty or not there")
    export.set_defaults(command=_export)

    sample = commands.add_parser("sample", parents=[home], help="what a version answers to prompts")
    sample.add_argument("version", help=VERSION)
    sample.add_argument("--prompt", action="append", metavar="TEXT", help="may be given several times (default: lines of the input)")
    sample.add_argument("--n", type=_at_least_one, default=1, metavar="N", help="responses to each prompt (default: %(default)s)")
    sample.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random numbers (default: %(default)s)")
    sample.add_argument("--format", choices=("text", "json"), default="text", help="`json` gives a line per response")
    sample.set_defaults(command=_sample)

    compare = commands.add_parser("compare", parents=[home], help="two versions on the same held-out prompts, by the held-out judge")
    compare.add_argument("version", help=VERSION)
    compare.add_argument("other", help="the version that it is compared with")
    compare.add_argument("--examples", type=int, default=3, metavar="N", help="prompts gained and lost most on (default: %(default)s)")
    compare.add_argument("--format", choices=("text", "json"), default="text", help="`json` gives everything as one object")
    compare.set_defaults(command=_compare)


def _add_decisions(commands: Commands, home: argparse.ArgumentParser) -> None:
    for name, about in (
        ("approve", "make a version that passed its gate the champion"),
        ("reject", "keep a version from ever being promoted"),
        ("rollback", "exchange champion and previous"),
    ):
        command = commands.add_parser(name, parents=[home], help=about)
        if name == "rollback":
            command.add_argument("version", nargs="?", default="champion", help="the champion that is taken back (default: %(default)s)")
        else:
            command.add_argument("version", help=VERSION)
        command.add_argument("--reason", required=True, metavar="TEXT", help="why; kept in the registry's history")
        command.add_argument("--by", metavar="NAME", help="who decides (default: your login)")
        command.set_defaults(command=_decide, decision=name)


def _decide(options: argparse.Namespace) -> int:
    from flows import versions

    entry = getattr(versions, options.decision)(existing_home(options), options.version, options.reason, options.by or _login())
    versions.tell(entry, options.reason)
    return 0


def _login() -> str:
    """The name that the system knows the user by; empty where it knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return count


def _export(options: argparse.Namespace) -> int:
    from flows.versions import export

    export(existing_home(options), options.version, options.to.resolve())
    return 0


def _sample(options: argparse.Namespace) -> int:
    from flows.sample import sample_and_tell

    home = existing_home(options)
    prompts = options.prompt or ([] if sys.stdin.isatty() else [line.strip() for line in sys.stdin if line.strip()])
    sample_and_tell(home, options.version, prompts, n=options.n, seed=options.seed, form=options.format)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from flows.compare import compare_and_tell

    compare_and_tell(existing_home(options), options.version, options.other, examples=options.examples, form=options.format)
    return 0
