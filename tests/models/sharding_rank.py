"""One of several processes among which a model is divided: what it learned, and how much of it it holds, go to a file of the rank's own."""

import json
import os
import sys
from pathlib import Path

from models.lifeline import hold

if __name__ == "__main__":
    hold()
    os.environ["ACCELERATE_USE_CPU"] = "true"
    from accelerate import Accelerator

    from tests.models.test_sharding import learn

    found = learn(Path(sys.argv[1]), Path(sys.argv[2]))
    Path(sys.argv[2], f"rank-{Accelerator().process_index}.json").write_text(json.dumps(found))
