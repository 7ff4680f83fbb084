"""Checkpoints: a run that was interrupted goes on where it was.

`journal` has what is kept and how a run is repeated from it, `facts` what a checkpoint is of, `file` its format, `keep`
when it is written and read.
"""

from .keep import Checkpoint as Checkpoint
