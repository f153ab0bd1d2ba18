"""`overnight gc`."""

import argparse

from flows.commands.common import Commands, existing_home, refused


def add(commands: Commands, home: argparse.ArgumentParser) -> None:
    """Add the command that removes what nothing needs any more."""
    gc = commands.add_parser(
        "gc", parents=[home], help="show what nothing needs any more (files of old artifacts, checkpoints, logs), or remove it"
    )
    gc.add_argument("--keep-nights", type=int, default=14, metavar="N", help="last nights of each recipe kept whole (default: %(default)s)")
    gc.add_argument(
        "--keep-days",
        type=float,
        default=7.0,
        metavar="DAYS",
        help="what is younger is kept whole, checkpoints and logs too (default: %(default)s)",
    )
    gc.add_argument("--smallest", type=float, default=1.0, metavar="MB", help="smaller artifacts are kept whole (default: %(default)s)")
    gc.add_argument("--delete", action="store_true", help="remove the files; without it they are only listed")
    gc.set_defaults(command=_gc)


def _gc(options: argparse.Namespace) -> int:
    from pydantic import ValidationError

    from flows.gc import collect_and_tell
    from tasks.retention.collect import RetentionConfig

    try:
        config = RetentionConfig(keep_nights=options.keep_nights, keep_days=options.keep_days, smallest=options.smallest)
    except ValidationError as error:
        raise refused(error) from None
    collect_and_tell(existing_home(options), config, delete=options.delete)
    return 0
