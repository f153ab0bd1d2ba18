"""`overnight simulate`."""

import argparse

from flows.commands.common import Commands, refused

POISONED, EMPTY = 7, 10
"""The nights that are poisoned and empty by default, where so many are played."""
PLOT = "nights.svg"


def add(commands: Commands, home: argparse.ArgumentParser) -> None:
    """Add the command that plays the simulated world over many nights."""
    simulate = commands.add_parser("simulate", parents=[home], help="play the simulated world over many nights, with the real pipeline")
    simulate.add_argument("--recipe", default="short", metavar="FILE", help="a recipe with a simulated world (default: %(default)s)")
    simulate.add_argument("--nights", type=int, default=14, help="nights (default: %(default)s)")
    simulate.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="worlds that are played (default: 0)")
    simulate.add_argument(
        "--first", type=int, default=700, help="prompts that people are asked about on the first night (default: %(default)s)"
    )
    simulate.add_argument("--comparisons", type=int, default=200, help="prompts of every other night (default: %(default)s)")
    simulate.add_argument(
        "--poisoned-night",
        type=int,
        metavar="NIGHT",
        help="the night on which most annotators answer at random (default: 7, where more are played; 0 for none)",
    )
    simulate.add_argument(
        "--empty-night",
        type=int,
        metavar="NIGHT",
        help="the night on which nothing is delivered (default: 10, where more are played; 0 for none)",
    )
    simulate.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a setting over the recipe's own"
    )
    simulate.set_defaults(command=_simulate)


def _simulate(options: argparse.Namespace) -> int:
    from data_contracts.errors import InputError
    from flows.own_server import begin_server
    from flows.run import prepare

    if options.store:
        raise InputError("a simulation stays on this machine", where=options.store, remedy="leave out --store, and unset OVERNIGHT_STORE")
    root = options.home.resolve()
    prepare(root)
    ready = begin_server()
    from pydantic import ValidationError

    from flows.console import new_console
    from flows.simulate import simulate
    from flows.simulate_table import seeds_table, write_plot
    from tasks.simulation.deliveries import DeliveryConfig

    ready()
    nights = options.nights
    days = {
        "nights": nights,
        "poisoned_night": _night(options.poisoned_night, POISONED, nights),
        "empty_night": _night(options.empty_night, EMPTY, nights),
    }
    played = {}
    for seed in options.seeds:
        try:
            calendar = DeliveryConfig(seed=seed, **days)
        except ValidationError as error:
            raise refused(error, "nights") from None
        played[seed] = simulate(root, options.recipe, tuple(options.overrides), calendar, options.first, options.comparisons)
        write_plot(played, root / PLOT)
    new_console().print(seeds_table(played))
    print(f"plot: {root / PLOT}")
    print(f"the nights of a seed stand in a home of their own: overnight show --home {root / f'seed-{options.seeds[0]}'}")
    return 0


def _night(asked: int | None, usual: int, nights: int) -> int | None:
    """The night that is special: the one that was asked for, none for 0, else the usual one where so many are played."""
    if asked is None:
        return usual if nights > usual else None
    return asked or None
