"""The report's plots: what a reader needs is in them, and equal data gives equal bytes."""

from tasks.decision.plots import reliability_plot


def test_the_reliability_plot_stands_bins_without_an_interval_and_is_always_the_same() -> None:
    rows = [
        {"predicted": 0.6, "value": 0.55, "low": 0.5, "high": 0.6},
        {"predicted": 0.9, "value": 1.0, "low": None, "high": None},
    ]
    svg = reliability_plot(rows)
    assert svg == reliability_plot(rows)
    assert 'aria-label="reliability' in svg
    assert "observed" in svg
