"""The days of a backfill, and what makes a recipe's night that of a past day; the night itself is the one of every other test."""

from datetime import UTC, date, datetime

import pytest

from flows.deployments.backfill import MOST_NIGHTS, as_of, days
from flows.deployments.parameters import RecipeChanges
from flows.recipe import load_recipe


def test_days_are_given_in_order_and_too_many_are_refused() -> None:
    assert list(days(date(2026, 2, 27), date(2026, 3, 2))) == [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1), date(2026, 3, 2)]
    assert list(days(date(2026, 1, 1), date(2026, 1, 1))) == [date(2026, 1, 1)]
    for first, last in ((date(2026, 1, 2), date(2026, 1, 1)), (date(2020, 1, 1), date(2026, 1, 1))):
        with pytest.raises(ValueError, match=f"at most {MOST_NIGHTS} days"):
            days(first, last)


def test_a_past_night_sees_its_day_to_the_end_and_moves_no_alias_of_today() -> None:
    changes = RecipeChanges.model_validate({"policy": {"updates": 3}, "snapshot": {"sources": ["simulated"]}})
    recipe = load_recipe("built-in", changes=as_of(date(2026, 2, 28), "built-in-backfill", changes))
    assert recipe.snapshot.as_of == datetime(2026, 2, 28, 23, 59, 59, 999999, UTC)
    assert recipe.snapshot.sources == ("simulated",)
    assert (recipe.name, recipe.registry.line, recipe.policy.updates) == ("built-in-backfill", "built-in-backfill", 3)
