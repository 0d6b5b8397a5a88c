"""The work of the verb `serve`: a run behind HTTP until it is told to stop."""

from __future__ import annotations

import logging
import os
import sys
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from socket import AI_PASSIVE, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, getaddrinfo
from socket import socket as Socket

import torch
import uvicorn
from PIL import Image

from ..data.dataset import Dataset
from ..errors import DataError, SettingsError
from ..intervals import NAME, read_intervals
from ..memory import keep_freed_memory
from ..predict.vlm import VLM, load_run
from ..record import Record
from ..run_folder import read_run
from ..settings import ServeSettings
from .app import build
from .guard import Guard, Rules
from .house import PHOTO, House
from .protocol import GracefulServer, patient

KEY = "SEEWORTH_API_KEY"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
KEPT = 256  # MB of freed memory: no fewer answers a second than with 2047, and a photo of 25 million pixels is not kept for ever
log = logging.getLogger("seeworth.serve")


def run(settings: ServeSettings) -> None:
    """Serve. Returns when SIGTERM or SIGINT has come and what was taken is answered.

    Raises SettingsError for settings that cannot be, or would not be safe; RunError for a folder that is no run; OSError for an address
    that cannot be listened on.
    """
    check(settings)
    rules = rules_of(settings)
    torch.set_num_threads(threads_of(settings))
    with bound(settings) as socket:
        _log()
        intervals = read_intervals(settings.run) if (settings.run / NAME).is_file() else None
        model = load(settings)
        serve(House.of(model, intervals, settings, train_records(settings)), rules, socket)


def serve(house: House, rules: Rules, socket: Socket) -> None:
    """Listen, answer, stop. `socket` is bound already."""
    settings = house.settings
    guard = Guard(build(house), rules, house.metrics)
    config = uvicorn.Config(
        guard,
        loop="auto",
        http=patient(settings.receive_timeout),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=settings.max_connections,
        timeout_graceful_shutdown=5,
    )

    def draining() -> None:
        words = "1 request under way is" if guard.visits == 1 else f"{guard.visits} requests under way are"
        log.info("told to stop: %s finished first", words)
        house.queue.draining = True

    host = f"[{settings.host}]" if ":" in settings.host else settings.host

    def ready() -> None:
        print(f"serving {house.model.name} on http://{host}:{socket.getsockname()[1]} (Ctrl+C stops)", flush=True)

    def busy() -> bool:
        return guard.visits > 0

    server = GracefulServer(config, ready=ready, draining=draining, busy=busy, seconds=settings.shutdown_timeout)
    server.run(sockets=[socket])


def bound(settings: ServeSettings) -> Socket:
    """A socket that has the address and does not listen yet: that it is taken is told before a model is loaded. Raises OSError."""
    family, kind, protocol, _, address = getaddrinfo(settings.host, settings.port, type=SOCK_STREAM, flags=AI_PASSIVE)[0]
    socket = Socket(family, kind, protocol)
    try:
        socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        socket.bind(address)
    except OSError as problem:
        socket.close()
        raise OSError(f"{settings.host} port {settings.port} cannot be listened on ({problem.strerror}): name another --port") from problem
    return socket


def check(settings: ServeSettings) -> None:
    """Raises SettingsError for what cannot be."""
    least = {
        "batch_size": 1,
        "max_tokens_per_batch": 1,
        "max_new_tokens": 1,
        "max_chat_tokens": 1,
        "max_photos": 1,
        "max_bytes": 1,
        "max_memory": 1,
        "max_pixels": 1,
        "photo_threads": 1,
        "max_connections": 2,
        "num_threads": 0,
    }
    for name, bound in least.items():
        if (found := getattr(settings, name)) < bound:
            raise SettingsError(f"{name} is {found}, expected at least {bound}")
    for name in ("timeout", "receive_timeout", "shutdown_timeout"):
        if not 0 < (found := getattr(settings, name)) < float("inf"):
            raise SettingsError(f"{name} is {found}, expected seconds above 0")
    if settings.queue_size < settings.max_photos:
        raise SettingsError(f"queue_size is {settings.queue_size}, expected at least max_photos, {settings.max_photos}")
    if settings.max_memory << 20 < settings.max_bytes:
        raise SettingsError(f"max_memory is {settings.max_memory} MB, expected at least max_bytes, {settings.max_bytes}")
    if not 0 <= settings.port <= 65535:
        raise SettingsError(f"port is {settings.port}, expected 0 to 65535")


def rules_of(settings: ServeSettings) -> Rules:
    """Who may ask. Raises SettingsError for an address that others reach without a key."""
    key = api_key(settings)
    local = settings.host == "localhost" or _is_loopback(settings.host)
    if not local and key is None:
        raise SettingsError(
            f"host {settings.host} can be reached from other machines and there is no API key: give --api_key_file or set {KEY}, "
            "or leave --host 127.0.0.1"
        )
    hosts = tuple(one.strip().strip("[]").lower() for one in settings.allowed_hosts.split(",") if one.strip())
    if not hosts and local:
        hosts = tuple(dict.fromkeys((*LOOPBACK, settings.host)))
    return Rules(hosts, key, settings.max_bytes, settings.max_memory << 20, settings.receive_timeout)


def api_key(settings: ServeSettings) -> str | None:
    """From the file, else from the environment. Raises SettingsError for one that is no key."""
    if settings.api_key_file is not None:
        lines = settings.api_key_file.read_text(encoding="utf-8").splitlines()
        key, where = (lines[0].strip() if lines else ""), str(settings.api_key_file)
    elif KEY in os.environ:
        key, where = os.environ[KEY].strip(), KEY
    else:
        return None
    if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(
            f"{where} holds {len(key)} characters, expected an API key of at least 16 letters and signs: openssl rand -hex 32"
        )
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def threads_of(settings: ServeSettings) -> int:
    """Threads of the model: all processors but one, where nothing else is asked for."""
    return settings.num_threads or max(len(os.sched_getaffinity(0)) - 1, 1)


def load(settings: ServeSettings) -> VLM:
    """The run. Its first answer, to a white photo, is not a client's: what is slow once is done then, and what is broken tells."""
    model = load_run(
        settings.run.resolve(),  # its name is the model's, of `.` too
        batch_size=settings.batch_size,
        max_new_tokens=settings.max_new_tokens,
        constrained=settings.constrained,
        free_categories=settings.free_categories,
        distribution=settings.distribution and settings.constrained,
    )
    keep_freed_memory(KEPT)
    task = model.encoder.task
    values = {one.name: (one.choices or ("x",))[0] if one.kind != "number" else Decimal(1) for one in task.question_fields}
    record = Record("warm-up", PHOTO, values, "warm-up")
    model.answer_examples([record], [model.encoder.example(record, answer=False, photos=[Image.new("RGB", (64, 64), "white")])])
    return model


def train_records(settings: ServeSettings) -> list[Record]:
    """Records whose photos are offered as similar ones; none where the dataset is no longer there."""
    if not settings.similar:
        return []
    try:
        return list(Dataset.open(Path(read_run(settings.run)["data"])).records("train"))
    except DataError as problem:
        log.warning("similar photos are not offered, the train records are not there: %s", problem)
        return []


def _log() -> None:
    """A line each, with its time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("seeworth.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "seeworth.serve" else logging.WARNING)
