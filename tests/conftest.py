"""What holds for every test."""

import os

from hypothesis import settings

# The tests' models are tiny: a second thread costs more than it gives, and very much more on a machine that does something else too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What has to pass everywhere must not depend on the day: elsewhere every run looks at other examples.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
