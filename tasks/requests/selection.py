"""Which comparisons a request asks for: what tells most, a random share, and known ones that check the annotators.

The random share keeps statistics honest: figures on it stand for all prompts, whatever the rest was chosen by. Within what is chosen
for its information every slice has the share that it has among the proposals, and no prompt comes twice, so that a request is not
one topic over and over.
"""

import polars as pl

from models.randomness import generator

INFORMATIVE, RANDOM, GOLD, REPEATED = "informative", "random", "gold", "repeated"


def select(
    proposals: pl.DataFrame, gold: pl.DataFrame, known: pl.DataFrame, *, n: int, shares: dict[str, float], seed: int
) -> pl.DataFrame:
    """The rows of a request, in the order in which they are to be asked.

    Args:
        proposals: new pairs, one per prompt, with their `information`.
        gold: comparisons with a known verdict that may be asked again.
        known: comparisons that people judged and that may be asked again.
        n: how many comparisons are asked for; fewer where there are not enough.
        shares: share of n by `random`, `gold` and `repeated`; the rest is informative.
        seed: decides what is random.
    """
    asked = {why: round(n * share) for why, share in shares.items()}
    old = [_some(rows, asked[why], seed, why) for why, rows in ((GOLD, gold), (REPEATED, known))]
    by_chance = _some(proposals, asked[RANDOM], seed, RANDOM)
    rest = proposals.join(by_chance, on="prompt_id", how="anti")
    wanted = n - by_chance.height - sum(rows.height for rows in old)  # what the lake lacks in gold and known ones is asked anew
    rows = pl.concat([*old, by_chance, _most_informative(rest, wanted)], how="diagonal_relaxed")
    rng = generator(seed, "request", "order")
    sides = pl.Series("presented_first", [("a", "b")[side] for side in rng.integers(2, size=rows.height)], pl.String)
    shuffled: pl.DataFrame = rows.with_columns(sides)[rng.permutation(rows.height).tolist()]
    return shuffled.with_row_index("number", offset=1).with_columns(pl.col("number").cast(pl.Int64))


def _some(rows: pl.DataFrame, count: int, seed: int, why: str) -> pl.DataFrame:
    """So many of the rows, drawn at random."""
    drawn = generator(seed, "request", why).permutation(rows.height)[:count]
    chosen: pl.DataFrame = rows[sorted(drawn.tolist())]
    return chosen.with_columns(why=pl.lit(why))


def _most_informative(proposals: pl.DataFrame, count: int) -> pl.DataFrame:
    """The most informative of each slice, in turns: whichever slice is furthest behind its share of the proposals comes next."""
    ranked = proposals.with_columns(place=pl.col("information").rank("ordinal", descending=True).over("slice"), size=pl.len().over("slice"))
    in_turns = ranked.sort(pl.col("place") / pl.col("size"), -pl.col("information"), "prompt_id")
    return in_turns.head(count).drop("place", "size").with_columns(why=pl.lit(INFORMATIVE))
