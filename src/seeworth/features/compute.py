"""Photos -> what the vision tower makes of them, in batches of one and the same size. Knows nothing of where the result is kept.

A batch always holds `batch_tiles` tiles, the last one filled up with zeros: matrix products of one shape give a tile the same bits
whichever tiles stand beside it, so that what is computed in two goes, or after a kill, is what one go would have made.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..data.workers import processors
from ..phi3v.vision import distinct_tiles
from .key import embedding_of

K = TypeVar("K")
Cut = Callable[[], Tensor]


def compute(photos: Iterable[tuple[K, Cut]], model: Any, batch_tiles: int) -> Iterator[tuple[K, Tensor]]:
    """(name, float[distinct tile, grid, grid, 4 * tower width] on the CPU) of each photo, in order, as they are done.

    Args:
        photos: a name, and what opens and cuts the photo: float32[tile, 3, side, side]; called in threads, some photos ahead.

    To be used within `at_rest`. Raises what a `Cut` raises.
    """
    waiting: deque[tuple[K, int]] = deque()  # photos whose tiles are not all seen
    seen: list[Tensor] = []
    for rows in _seen(_batches(_ahead(photos), waiting, batch_tiles), embedding_of(model)):
        seen.extend(rows)
        yield from _whole(waiting, seen)


def _batches(photos: Iterable[tuple[K, Tensor]], waiting: deque[tuple[K, int]], batch_tiles: int) -> Iterator[Tensor]:
    """The photos' tiles, so many at a time; `waiting` gets their names and numbers."""
    tiles: list[Tensor] = []
    for name, own in photos:
        waiting.append((name, len(own)))
        tiles.extend(own)
        while len(tiles) >= batch_tiles:
            yield torch.stack(tiles[:batch_tiles])
            del tiles[:batch_tiles]
    if tiles:
        yield torch.stack([*tiles, *[torch.zeros_like(tiles[0])] * (batch_tiles - len(tiles))])


def _seen(batches: Iterable[Tensor], embedding: Any) -> Iterator[Tensor]:
    """What the tower makes of each batch, in order, on the CPU.

    A CPU's threads take a batch each: those that share a product wait for one another. On a GPU the next batch is on its way while the
    last one's result is fetched.
    """
    device = embedding.glb_GN.device
    threads = torch.get_num_threads()
    lanes = threads if device.type == "cpu" else 2
    torch.set_num_threads(threads)  # in a forked process torch makes its threads' pool anew when first asked, and fails when asked by two

    def see(batch: Tensor) -> Tensor:
        with torch.no_grad():  # each thread has a switch of its own
            made: Tensor = embedding.see(batch.to(device)).cpu()
        return made

    under_way: deque[Future[Tensor]] = deque()
    try:
        with ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1 if device.type == "cpu" else threads,)) as pool:
            for batch in batches:
                under_way.append(pool.submit(see, batch))
                if len(under_way) > lanes:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
    finally:
        torch.set_num_threads(threads)  # what a thread sets is also what later ones begin with


def _whole(waiting: deque[tuple[K, int]], seen: list[Tensor]) -> Iterator[tuple[K, Tensor]]:
    """The photos all of whose tiles are seen, taken away from both."""
    while waiting and waiting[0][1] <= len(seen):
        name, count = waiting.popleft()
        yield name, torch.stack(seen[:count])
        del seen[:count]


def _ahead(photos: Iterable[tuple[K, Cut]]) -> Iterator[tuple[K, Tensor]]:
    """The photos' distinct tiles, in order, opened in threads: Pillow and torch let go of the interpreter."""
    items = iter(photos)
    workers = processors()
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[K, Future[Tensor]]] = deque()
        try:
            for name, cut in islice(items, 2 * workers):
                waiting.append((name, pool.submit(cut)))
            while waiting:
                name, one = waiting.popleft()
                yield name, distinct_tiles(one.result())
                for following, cut in islice(items, 1):
                    waiting.append((following, pool.submit(cut)))
        finally:
            for _, one in waiting:  # the reader has stopped early, or a photo cannot be opened
                one.cancel()


@contextmanager
def at_rest(model: Any) -> Generator[None, None, None]:
    """What `compute` runs in: the tower in eval mode, no gradients, and after it the warning filters that open_photo sets put back,
    since threads share them."""
    tower = embedding_of(model).img_processor
    training = tower.training
    with warnings.catch_warnings(), torch.no_grad():
        tower.eval()
        try:
            yield
        finally:
            tower.train(training)
