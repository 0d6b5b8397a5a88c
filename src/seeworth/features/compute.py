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

    To be used within `at_rest`. The next batch is on its way while the last one's result is fetched. Raises what a `Cut` raises.
    """
    embedding = embedding_of(model)
    device = embedding.glb_GN.device
    waiting: deque[tuple[K, int]] = deque()  # photos whose tiles are not all seen
    tiles: list[Tensor] = []
    seen: list[Tensor] = []
    under_way: list[Tensor] = []  # batches that were given to the device
    for name, own in _ahead(photos):
        waiting.append((name, len(own)))
        tiles.extend(own)
        while len(tiles) >= batch_tiles:
            under_way.append(embedding.see(torch.stack(tiles[:batch_tiles]).to(device)))
            del tiles[:batch_tiles]
            if len(under_way) > 1:
                seen.extend(under_way.pop(0).cpu())
                yield from _whole(waiting, seen)
    for batch in under_way:
        seen.extend(batch.cpu())
    if tiles:
        filled = torch.stack([*tiles, *[torch.zeros_like(tiles[0])] * (batch_tiles - len(tiles))])
        seen.extend(embedding.see(filled.to(device))[: len(tiles)].cpu())
    yield from _whole(waiting, seen)


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
