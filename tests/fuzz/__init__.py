"""Random input for everything that takes any: ``python -m tests.fuzz --seconds 600 --seed 0``, see `__main__`.

`campaign` runs a `worker` process for each target, so that a crash or a hang is seen and its input known; `verdict`
says what may come of an input; `draw` makes arrays. A target is a row of `table`.
"""

import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

SUPPORT = str(Path(__file__).parents[1] / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)

if "fastsoftmax" not in sys.modules:
    import checkout

    sys.path[:], FOLDER = checkout.choose(sys.path)
    warnings.simplefilter("default")
