"""`overnight request` and `overnight label`."""

import argparse
from pathlib import Path

from flows.commands.common import Commands, existing_home, refused


def add(commands: Commands, home: argparse.ArgumentParser) -> None:
    """Add the commands that ask people, and models, for judgments."""
    request = commands.add_parser("request", parents=[home], help="the comparisons that people should judge next, as files")
    request.add_argument("--recipe", default="built-in", metavar="FILE", help="the recipe whose last night is asked about")
    request.add_argument("--n", type=int, default=500, help="comparisons (default: %(default)s)")
    request.add_argument("--to", type=Path, required=True, metavar="DIR", help="where the files go")
    request.add_argument("--source", metavar="NAME", help="source that the judgments will come back in; by default the only one")
    for share, default, what in (
        ("random", 0.25, "drawn at random"),
        ("gold", 0.05, "whose verdict is known"),
        ("repeated", 0.05, "that people judged before"),
    ):
        request.add_argument(f"--{share}-share", type=float, default=default, metavar="SHARE", help=f"share {what} (default: %(default)s)")
    request.add_argument("--seed", type=int, default=0, help="another seed gives another request (default: %(default)s)")
    request.set_defaults(command=_request)
    label = commands.add_parser("label", parents=[home], help="a model judges pairs by written rules; its judgments as a file for ingest")
    label.add_argument("pairs", type=Path, metavar="FILE", help="the pairs, as `overnight request` writes them (request.jsonl)")
    label.add_argument("--recipe", default="built-in", metavar="FILE", help="the recipe that has the annotator")
    label.add_argument("--by", metavar="NAME", help="the annotator, one of the recipe's [[annotators]]; by default the only one")
    label.add_argument("--to", type=Path, required=True, metavar="FILE", help="where the judgments go, as JSON lines in the native format")
    label.set_defaults(command=_label)


def _request(options: argparse.Namespace) -> int:
    from pydantic import ValidationError

    from flows.recipe import load_recipe
    from flows.request import request_and_tell, source_of
    from tasks.requests.request import RequestConfig

    recipe = load_recipe(options.recipe)
    shares = {name: getattr(options, name) for name in ("random_share", "gold_share", "repeated_share")}
    try:
        config = RequestConfig(n=options.n, source=source_of(recipe, options.source), seed=options.seed, **shares)
    except ValidationError as error:
        raise refused(error, "shares") from None
    request_and_tell(existing_home(options), recipe, config, options.to)
    return 0


def _label(options: argparse.Namespace) -> int:
    from flows.label import label_and_tell
    from flows.recipe import load_recipe

    label_and_tell(existing_home(options), load_recipe(options.recipe), options.by, options.pairs, options.to)
    return 0
