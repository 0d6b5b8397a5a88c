"""The engine over Ray Data: whatever answers Inputs on one machine answers them on all machines of a Ray cluster.

    inputs --write_windows--> file --read tasks, on this machine--> windows with their photos --actors, a model each--> lines

Ray Data streams, retries and scales; here is only what it is given. A window is one row, so an actor answers the same windows as the local
engine does, in the same batches. Photos are read on this machine alone and travel as bytes; the model must lie on every node under the same
path. What a node had when it was lost is read and answered again elsewhere. Importing this module raises SettingsError where Ray is not
installed. Knows nothing of models.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ..errors import RunError, SeeworthError, SettingsError
from .inputs import Engine, Input
from .windows import SCHEMA, carried, packed, read_window, unpacked, write_windows

try:
    import ray
    from ray._private import ray_constants
    from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask, read_datasource
    from ray.data.block import BlockMetadata
    from ray.data.exceptions import ExecutionTimeoutError
except ImportError as problem:
    raise SettingsError("engine ray needs Ray, which is not installed: pip install 'seeworth[ray]', or take --engine local") from problem

READERS = 4  # processes on this machine that read photos
THREADS = 8  # files that each of them reads at once
DEATHS = 3  # actors that may die one after another while they load the model, e.g. on a node that is lost just then
ANSWERS = pa.schema([("lines", pa.list_(pa.large_string())), ("problem", pa.string())])
STILL = 1800.0  # seconds in which nothing at all moves, after which the run is given up


class Actors(NamedTuple):
    """How many actors (None: as many as the cluster has room for), and what each takes of a node."""

    count: int | None
    cpus: int
    gpus: float


def over_ray(
    make: Callable[[], Engine],
    *,
    windows: Callable[[Iterator[Input]], Iterator[list[Input]]],
    spool: Path,
    address: str | None = None,
    actors: int = 0,
    gpus: float | None = None,
) -> Engine:
    """The engine that `make` makes, on every node of a cluster.

    Args:
        make: called once in each actor; loads the model. It can be pickled.
        windows: cuts inputs into what that engine looks at in one go.
        spool: a file of this machine, written anew and gone at the end; it holds what is to be answered, without photos that are files.
        address: of a cluster, or "auto"; None starts Ray here, on loopback alone. Where the process is connected already, that is used.
        actors, gpus: see `shape`.

    Raises SettingsError for an address that cannot be used. The engine raises RunError when an actor cannot load the model or the cluster
    gives up; lines that were given by then are given.
    """
    if address is not None and "://" in address:
        raise SettingsError(
            f"ray_address {address}: photos are read where seeworth runs, so it must run on a machine of the cluster: start it there, "
            "or with `ray job submit`, and give --ray_address auto"
        )

    def engine(inputs: Iterator[Input]) -> Iterator[dict[str, Any]]:
        spool.parent.mkdir(parents=True, exist_ok=True)
        try:
            if count := write_windows(spool, windows(inputs)):
                with _connected(address, gpus):
                    yield from _told(_answers(make, Windows(spool, count), shape(_nodes(), actors, gpus)))
        finally:
            spool.unlink(missing_ok=True)

    return engine


def shape(nodes: Sequence[Mapping[str, float]], actors: int, gpus: float | None) -> Actors:
    """How many actors, and what each takes.

    Args:
        nodes: what each node has, as {"CPU": 8, "GPU": 1}.
        actors: 0 for as many as there are GPUs, and where they have none one a node.
        gpus: of each actor; None for 1 where a node has any, else 0.
    """
    if gpus is None:
        gpus = 1.0 if any(node.get("GPU", 0) for node in nodes) else 0.0
    if gpus:
        return Actors(actors or None, 1, gpus)
    able = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1] or [1]
    count = actors or len(able)
    return Actors(count, max(1, min(able) // math.ceil(count / len(able))), 0.0)


class Windows(Datasource):  # type: ignore[misc]
    """What `write_windows` wrote, with the photos' bytes: one read task a window. Read on this machine, where the photos are."""

    def __init__(self, spool: Path, count: int) -> None:
        super().__init__()
        self.spool = spool.absolute()
        self.count = count

    @property
    def supports_distributed_reads(self) -> bool:
        return False

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None) -> list[ReadTask]:
        about = BlockMetadata(num_rows=1, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(partial(_read, self.spool, number), about, schema=SCHEMA) for number in range(self.count)]


def _read(spool: Path, number: int) -> list[pa.Table]:
    """One window with its photos."""
    with ThreadPoolExecutor(THREADS) as pool:
        return [pa.Table.from_batches([packed(list(pool.map(carried, read_window(spool, number))))])]


class Answerer:
    """What an actor is: the engine, made once, and answering window after window.

    A problem that the user can fix is an answer too, so that it is told in one line and not as what happened to an actor.
    """

    def __init__(self, make: Callable[[], Engine]) -> None:
        from ..phi3v import Phi3VError  # here: the machine that sends photos loads no torch

        self._fixable = (SeeworthError, Phi3VError, OSError)
        self._engine: Engine | None = None
        self._problem = ""
        try:
            self._engine = make()
        except self._fixable as problem:
            self._problem = str(problem)

    def __call__(self, batch: pa.Table) -> pa.Table:
        lines: list[str] = []
        try:
            for row in batch.to_pylist() if self._engine else []:
                lines += [json.dumps(line) for line in self._engine(iter(unpacked(row)))]  # type: ignore[misc]
        except self._fixable as problem:
            self._problem = str(problem)
        told = f"node {ray.util.get_node_ip_address()}: {self._problem}" if self._problem else ""
        return pa.Table.from_pylist([{"lines": lines, "problem": told}], ANSWERS)


def _answers(make: Callable[[], Engine], windows: Windows, actors: Actors) -> Iterator[dict[str, Any]]:
    """The lines, window by window as they are done."""
    data = read_datasource(windows, override_num_blocks=windows.count, num_cpus=0, concurrency=min(READERS, os.cpu_count() or 1))
    pool = ActorPoolStrategy(size=actors.count) if actors.count else ActorPoolStrategy(min_size=1, initial_size=_initial(actors))
    answered = data.map_batches(
        Answerer,
        fn_constructor_args=(make,),
        batch_size=1,  # a window
        batch_format="pyarrow",
        compute=pool,
        num_cpus=actors.cpus,
        num_gpus=actors.gpus,
    )
    for table in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in table.to_pylist():
            yield from map(json.loads, row["lines"])
            if row["problem"]:
                raise RunError(row["problem"])


def _told(lines: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What Ray gives up for, in one line of ours."""
    try:
        yield from lines
    except (ray.exceptions.RayError, ExecutionTimeoutError) as problem:
        raise RunError(f"Ray gave up: {_reason(problem)}; all it says is in its logs, in {_logs()}") from problem


def _reason(problem: BaseException) -> str:
    """What was raised in the first place, in a line."""
    while inner := getattr(problem, "cause", None) or problem.__cause__:
        problem = inner
    words = str(problem).strip().splitlines() or [""]
    return f"{type(problem).__name__}: {words[0].strip()}"


@contextmanager
def _connected(address: str | None, gpus: float | None) -> Iterator[None]:
    """With a cluster, and with what Ray Data is told there; the process's own settings of Ray Data come back."""
    began = not ray.is_initialized()
    if began:
        _begin(address)
    try:
        if gpus and not any(node.get("GPU", 0) >= gpus for node in _nodes()):
            if address is None:
                raise SettingsError(f"ray_gpus {gpus:g}: this machine has no such GPUs: give 0 to answer on processors")
            print(f"no node of the cluster has {gpus:g} GPUs now: waiting until one has, {STILL / 60:.0f} minutes at most", file=sys.stderr)
        context = DataContext.get_current().copy()
        context.enable_progress_bars = False  # ours counts photos
        context.print_on_execution_start = False
        context.target_max_block_size = None  # a window is never cut
        context.max_consecutive_actor_init_deaths = DEATHS
        context.execution_no_progress_timeout_s = STILL
        with DataContext.current(context):
            yield
    finally:
        if began:
            ray.shutdown()


def _begin(address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        with _on_loopback():
            ray.init(address="local", include_dashboard=False, **quiet)
    else:
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as problem:
            raise SettingsError(f"ray_address {address}: there is no Ray cluster: {' '.join(str(problem).split())}") from problem
    for handler in logging.getLogger("ray.data").handlers:
        if handler.get_name() == "console":
            handler.setLevel(logging.ERROR)


@contextmanager
def _on_loopback() -> Iterator[None]:
    """What is started here listens on 127.0.0.1 alone, as Ray does on Windows and macOS; elsewhere it has no setting for that."""
    asked = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in asked}, ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(asked)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        for name, value in before[0].items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _nodes() -> list[dict[str, float]]:
    """What each node that is alive has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _initial(actors: Actors) -> int:
    """As many as there are GPUs for now; more come when the cluster grows."""
    return max(1, sum(int(node.get("GPU", 0) / actors.gpus) for node in _nodes()))


def _logs() -> str:
    node = ray._private.worker._global_node
    return node.get_logs_dir_path() if node else "/tmp/ray"
