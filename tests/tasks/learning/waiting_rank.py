"""A rank that meets the others as a training job would, and then waits for its end."""

import os
import sys
import time
from pathlib import Path

from models.lifeline import hold

if __name__ == "__main__":
    hold()
    os.environ["ACCELERATE_USE_CPU"] = "true"
    from accelerate import Accelerator

    accelerator = Accelerator()
    accelerator.wait_for_everyone()
    if accelerator.num_processes == 2 and accelerator.is_main_process:
        Path(sys.argv[1]).touch()
    time.sleep(120)
