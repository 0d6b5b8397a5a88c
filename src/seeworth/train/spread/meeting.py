"""`meet`: the processes of one start agree on a part of the launcher's store that is theirs alone.

A launcher that starts all processes again after one was lost (`torchrun --max_restarts`) may give them the store of the first start, with
its addresses of processes that are no more; and a program may train twice. Knows nothing of what is kept there.
"""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import uuid4

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store

from ...errors import RunError

START = "seeworth/start"
A_MOMENT = timedelta(seconds=1)


def meet(store: Store, rank: int, processes: int, patience: timedelta) -> Store:
    """The part of the store that the processes of this start share, when all are there.

    The main process makes up its name. Another one believes a name only when the main process has answered the very mark
    that it left under it: whatever an earlier start left answers older marks. Raises RunError after `patience`.
    """
    name = _call(store, processes) if rank == 0 else _follow(store, rank, patience)
    return PrefixStore(f"seeworth/{name}", store)


def _call(store: Store, processes: int) -> str:
    name = uuid4().hex
    store.set(START, name)
    for other in range(1, processes):
        store.set(_answer(name, other), store.get(_mark(name, other)).decode())
    return name


def _follow(store: Store, rank: int, patience: timedelta) -> str:
    mark, end = uuid4().hex, time.monotonic() + patience.total_seconds()
    while time.monotonic() < end:
        name = store.get(START).decode()
        store.set(_mark(name, rank), mark)
        try:
            store.wait([_answer(name, rank)], A_MOMENT)
        except dist.DistError:
            continue  # the main process is not there yet, and the name is an earlier start's; or it waits for another process
        if store.get(_answer(name, rank)).decode() == mark:
            return name
        time.sleep(0.05)
    raise RunError(f"process {rank} waited {patience} for the main process, which did not come: see what it says")


def _mark(name: str, rank: int) -> str:
    return f"seeworth/{name}/mark/{rank}"


def _answer(name: str, rank: int) -> str:
    return f"seeworth/{name}/answer/{rank}"
