"""One of several processes that share batches out: each batch's gradient and figures, in float64, go to a file of the rank's own."""

import json
import os
import sys
from pathlib import Path

from models.lifeline import hold

if __name__ == "__main__":
    hold()
    os.environ["ACCELERATE_USE_CPU"] = "true"
    from accelerate import Accelerator

    from tests.models.reward.test_processes import gradients_of_batches

    found = gradients_of_batches(Path(sys.argv[1]))
    Path(sys.argv[2], f"rank-{Accelerator().process_index}.json").write_text(json.dumps(found))
