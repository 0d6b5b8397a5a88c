"""One training on one process or on many: who computes what, and how their gradients become one.

    alone.py     one process: what the loop may ask, and what it gets without a launcher
    launch.py    who asks for what: the environment of torchrun, accelerate launch, srun; `make_spread`
    meeting.py   the processes of one start find each other
    together.py  DDP: each process holds the whole model; all that processes tell each other
    sharded.py   FSDP2: each process holds a slice of each tensor
    zero.py      DeepSpeed ZeRO 2 and 3

Whatever the spread, a checkpoint holds whole tensors under the same names, so a training goes on with another one.
"""

from .alone import Alone, clean, fit
from .launch import make_spread

__all__ = ["Alone", "clean", "fit", "make_spread"]
