"""The engine over Ray: two nodes on this machine, one of which is killed, and a command that is killed too; the lines are the local ones.

Ray's processes are shut down with the module's cluster; an alarm ends what hangs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("ray")

import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster

from seeworth.errors import RunError, SettingsError
from seeworth.predict import on_node
from seeworth.predict.inputs import Engine, Input
from seeworth.predict.named import named
from seeworth.predict.on_node import OnNode, ray_engine
from seeworth.predict.over_ray import Actors, Answerer, over_ray, shape
from seeworth.predict.run import run
from seeworth.predict.windows import packed
from seeworth.record import Record
from seeworth.run_folder import write_run
from seeworth.settings import PredictSettings

LIMIT = 600  # seconds for all of Ray here, in place of a test that never ends
STORE = 80 * 2**20  # bytes of each node's object store, near the least that Ray takes
BATCH = 1  # so windows are of 8 inputs

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # Ray copies its own settings
]
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test


@dataclass(frozen=True)
class Gated(OnNode):
    """As `OnNode`, and no actor answers before the doomed node's is in the middle of its second window, where it stays.

    `gates` is a folder: the doomed node's id stands in `doomed`, `reached` is made when its actor is where it stays.
    """

    gates: Path = Path()

    def __call__(self) -> Engine:
        engine = super().__call__()
        doomed = (self.gates / "doomed").read_text() == ray.get_runtime_context().get_node_id()
        windows = 0

        def gated(inputs: Iterator[Input]) -> Iterator[dict[str, Any]]:
            nonlocal windows
            windows += 1
            while not doomed and not (self.gates / "reached").exists():
                time.sleep(0.05)
            for place, line in enumerate(engine(inputs)):
                if doomed and windows == 2 and place == 2:
                    (self.gates / "reached").write_text(str(line["number"]))
                    time.sleep(LIMIT)
                yield line

        return gated


@dataclass(frozen=True)
class Story:
    """What became of the same photos, answered here and over the cluster.

    Attributes:
        local, ray: the finished files. left: the lines that the killed command left. reached: an input that the killed node was answering.
    """

    local: Path
    ray: Path
    left: list[dict[str, Any]]
    reached: int


@pytest.fixture(scope="module", autouse=True)
def alarm() -> Iterator[None]:
    """Ends this module when it takes longer than LIMIT."""

    def ring(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"Ray's tests took over {LIMIT} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def cluster(alarm: None) -> Iterator[Cluster]:
    """Two nodes of one processor each, on loopback."""
    patch = pytest.MonkeyPatch()
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "OMP_NUM_THREADS": "1"}.items():
        patch.setenv(name, value)
    patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)  # read from the environment once
    patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    node = {"num_cpus": 1, "object_store_memory": STORE, "node_ip_address": "127.0.0.1"}
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    found = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False, "_system_config": quick})
    try:
        found.add_node(**node)
        yield found
    finally:
        ray.shutdown()
        found.shutdown()
        patch.undo()


@pytest.fixture(scope="module")
def settings(shop: Any, tmp_path_factory: pytest.TempPathFactory) -> PredictSettings:
    """A run folder with the shop's model, and a folder of 40 photos of which one is cut short and one is no photo."""
    home = tmp_path_factory.mktemp("ray")
    shop.model.save_pretrained(home / "run")
    shop.encoder.processor.save_pretrained(home / "run")
    about = {"task": shop.task.to_dict(), "data": str(home / "away"), "model": "tiny", "method": "full"}
    write_run(home / "run", {**about, "dtype": "float32", "attn_implementation": "sdpa"})
    (home / "photos").mkdir()
    for number, path in enumerate(sorted(shop.records[0].photo.parent.glob("*.png"))):
        data = path.read_bytes()
        (home / "photos" / path.name).write_bytes({7: data[: len(data) // 2], 30: b"no photo"}.get(number, data))
    return PredictSettings(str(home / "run"), home / "photos", home / "local.jsonl", batch_size=BATCH, engine="local")


@pytest.fixture(scope="module")
def story(cluster: Cluster, settings: PredictSettings, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Answered here; over Ray by a command that is killed after ten lines; and to the end, while a node is killed."""
    run(settings)
    over = replace(settings, engine="ray", output=settings.output.with_name("ray.jsonl"), ray_address=cluster.address)
    _killed_after(10, over)
    left = [json.loads(line) for line in over.output.with_name("ray.jsonl.part").read_text().splitlines()[1:]]

    gates = tmp_path_factory.mktemp("gates")
    (doomed,) = cluster.worker_nodes
    (gates / "doomed").write_text(doomed.node_id)
    patch = pytest.MonkeyPatch()
    patch.setattr(on_node, "OnNode", partial(Gated, gates=gates))
    patch.setattr("seeworth.predict.over_ray.READERS", 1)
    over_now = threading.Event()
    kill = partial(cluster.remove_node, doomed, allow_graceful=False)
    killer = threading.Thread(target=_kill_once, args=(kill, gates / "reached", over_now))
    killer.start()
    try:
        run(over)
    finally:
        over_now.set()
        killer.join(LIMIT)
        patch.undo()
    return Story(settings.output, over.output, left, int((gates / "reached").read_text()))


def _killed_after(lines: int, settings: PredictSettings) -> None:
    """Predict in a process of its own, which is killed when it has written so many lines."""
    script = """
import os, signal, sys
from pathlib import Path
from seeworth.predict.journal import Journal
from seeworth.predict.run import run
from seeworth.predict.windows import packed
from seeworth.settings import PredictSettings
add = Journal.add
def counted(journal, line):
    add(journal, line)
    if journal.count == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
Journal.add = counted
model, photos, output, address = sys.argv[2:]
run(PredictSettings(model, Path(photos), Path(output), batch_size=%d, engine="ray", ray_address=address, ray_actors=1))
"""
    names = [settings.model, settings.input, settings.output, settings.ray_address]
    command = [sys.executable, "-c", script % settings.batch_size, str(lines), *map(str, names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def _kill_once(kill: Callable[[], None], reached: Path, over: threading.Event) -> None:
    while not over.wait(0.05):
        if reached.exists():
            kill()
            return


def _lines(path: Path) -> list[dict[str, Any]]:
    """Without the seconds, in which alone engines may differ."""
    return [{key: one for key, one in json.loads(line).items() if key != "seconds"} for line in path.read_text().splitlines()]


def test_a_run_that_lost_a_node_gives_the_lines_of_the_local_engine(story: Story) -> None:
    here, there = _lines(story.local), _lines(story.ray)
    assert len(here) == 40
    assert there == here  # every digit of every probability too: the same windows were answered in the same batches
    assert sum("error" in line for line in there) == 2


def test_what_a_lost_node_was_answering_is_answered_once(story: Story) -> None:
    told = [json.loads(line)["record_id"] for line in story.ray.read_text().splitlines()]
    assert len(set(told)) == len(told)
    assert story.reached not in {line["number"] for line in story.left}, "the node was to be killed over a line that lacked"


def test_lines_that_a_killed_command_left_are_not_answered_again(story: Story) -> None:
    finished = story.ray.read_text().splitlines()
    assert len(story.left) == 10
    for line in story.left:
        number = line.pop("number")
        assert json.loads(finished[number]) == line  # the seconds too


def test_nothing_is_left_beside_the_finished_file(story: Story) -> None:
    assert [path.name for path in story.ray.parent.glob("ray.*")] == ["ray.jsonl"]


def test_a_model_that_a_node_lacks_is_one_line(story: Story, cluster: Cluster, settings: PredictSettings, tmp_path: Path) -> None:
    make = partial(_no_model, str(tmp_path / "run"))
    engine = over_ray(make, windows=lambda inputs: iter([list(inputs)]), spool=tmp_path / "spool", address=cluster.address)
    with pytest.raises(RunError, match=r"^node 127\.0\.0\.1: .*run is no finished run$"):
        list(engine(iter([Input(0, Record("1", None, {}, ""), None)])))
    assert not (tmp_path / "spool").exists()


def _no_model(folder: str) -> Engine:
    raise RunError(f"{folder} is no finished run")


@pytest.mark.parametrize("begins", [True, False])
def test_what_is_raised_on_a_node_is_told_with_its_name(begins: bool, capfd: pytest.CaptureFixture[str]) -> None:
    def engine(_: Iterator[Input]) -> Iterator[dict[str, Any]]:
        raise ZeroDivisionError("of ours")

    def make() -> Engine:
        return engine if begins else 1 // 0  # type: ignore[return-value]

    window = pa.Table.from_batches([packed([Input(0, Record("1", None, {}, ""), None)])])
    (answer,) = Answerer(make)(window).to_pylist()
    assert answer["lines"] == []
    assert re.fullmatch(r"node [\d.]+: ZeroDivisionError: (of ours|integer division or modulo by zero)", answer["problem"])
    assert "Traceback" in capfd.readouterr().err  # in the actor's log


def test_a_node_with_another_model_is_told(settings: PredictSettings) -> None:
    known = named(settings)
    with pytest.raises(RunError, match="another model here than where predict was started; with --engine ray the model must lie on every"):
        OnNode(settings, {**known.about, "run.json": "0" * 64}, None)()
    with pytest.raises(RunError, match=r"has seeworth .*, predict was started with 0\.0: install the same on every node"):
        OnNode(settings, known.about, None, "0.0")()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"engine": "ray", "ray_actors": -1}, "ray_actors is -1"),
        ({"engine": "ray", "ray_gpus": 1.5}, "a whole number of them"),
        ({"engine": "ray", "ray_gpus": -1.0}, "ray_gpus is -1"),
        ({"ray_actors": 2}, "add --engine ray"),
        ({"ray_gpus": 0.0}, "add --engine ray"),
    ],
)
def test_settings_that_cannot_be_are_told_before_anything_starts(settings: PredictSettings, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        run(replace(settings, output=settings.output.with_name("wrong.jsonl"), **wrong))


def test_a_client_address_is_refused_with_what_to_do(settings: PredictSettings, tmp_path: Path) -> None:
    far = replace(settings, ray_address="ray://head:10001")
    with pytest.raises(SettingsError, match=r"must run on a machine of the cluster.*ray job submit"):
        ray_engine(far, named(settings), tmp_path / "spool")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:x"])
def test_an_address_where_nobody_listens_is_told_at_once(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("was not to be asked"))
    engine = over_ray(partial(_no_model, ""), windows=lambda inputs: iter([list(inputs)]), spool=tmp_path / "spool", address=address)
    with pytest.raises(SettingsError, match=f"ray_address {address}: there is no Ray cluster: "):
        list(engine(iter([Input(0, Record("1", None, {}, ""), None)])))


@pytest.mark.parametrize(
    ("nodes", "actors", "gpus", "expected"),
    [
        ([{"CPU": 8.0}], 0, None, Actors(1, 8, 0)),  # one a node, with all of it
        ([{"CPU": 8.0}, {"CPU": 4.0}], 0, None, Actors(2, 4, 0)),
        ([{"CPU": 8.0}, {}], 0, None, Actors(1, 8, 0)),  # a head that is not to work
        ([{"CPU": 8.0}], 3, None, Actors(3, 2, 0)),
        ([{"CPU": 2.0}], 5, None, Actors(5, 1, 0)),
        ([{"CPU": 8.0, "GPU": 4.0}], 0, None, Actors(None, 1, 1)),  # as many as there are
        ([{"CPU": 8.0, "GPU": 4.0}], 2, 0.5, Actors(2, 1, 0.5)),
        ([{"CPU": 8.0, "GPU": 4.0}], 0, 0.0, Actors(1, 8, 0)),
        ([{"CPU": 8.0}], 0, 1.0, Actors(None, 1, 1)),  # a cluster that will add them
    ],
)
def test_actors_fill_the_cluster(nodes: list[dict[str, float]], actors: int, gpus: float | None, expected: Actors) -> None:
    assert shape(nodes, actors, gpus) == expected


def test_without_ray_it_is_told_what_to_install() -> None:
    script = "import sys; sys.modules['ray'] = None\nimport seeworth.predict.over_ray"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.stderr.strip().splitlines()[-1].endswith(": pip install 'seeworth[ray]', or take --engine local")
