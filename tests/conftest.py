"""What holds for every test."""

import os

# The tests' models are tiny: a second thread costs more than it gives, and very much more on a machine that does something else too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
