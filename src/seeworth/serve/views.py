"""What else can be asked of a photo: the train photos most like it, and which of its parts the answer hangs on.

The index of similar photos is made in the model's thread after the start; between its parts what waits is answered. Knows nothing of HTTP
but its refusals.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from PIL import Image

from ..encode import photo_of
from ..errors import DataError, PhotoError
from ..predict.occlusion import occlude
from ..predict.similar import Neighbour, Similar
from ..predict.vlm import VLM
from ..record import Record
from .queue import Queue
from .refused import Refused
from .worker import Stopped

log = logging.getLogger("seeworth.serve")
THUMBNAIL = 192  # pixels of its longer side


class Views:
    """Of one server.

    Args:
        train: records whose photos are offered as similar ones; () to offer none. occlusion: whether that may be asked for.
    """

    def __init__(self, model: VLM, queue: Queue, train: Sequence[Record], *, occlusion: bool) -> None:
        self.model = model
        self.queue = queue
        self.train = train
        self.fields = {one.name for one in model.encoder.task.fields}
        self.has_similar = any(record.photo is not None for record in train)
        self.has_occlusion = occlusion and any(one.kind != "text" for one in model.encoder.task.answer_fields)
        self._index: Similar | None = None
        self._done = (0, len(train))

    def start(self) -> None:
        """Have the index made, when the model's thread runs."""
        if self.has_similar:
            self.queue.worker.call(self._build)

    def _build(self) -> None:
        try:
            self._index = Similar.build(self.model, self.train, watch=self._watch)
            log.info("similar photos: %s", self._index.words())
        except Stopped:
            pass
        except DataError as problem:
            self.has_similar = False
            log.warning("similar photos are not offered: %s", problem)
        except Exception:
            self.has_similar = False
            log.exception("similar photos are not offered: their index could not be made")

    def _watch(self, done: int, of: int) -> None:
        self._done = (done, of)
        self.queue.worker.breathe()

    async def similar(self, photo: Image.Image, k: int) -> list[dict[str, Any]]:
        """The k most similar train records. Raises Refused while there is no index."""
        index = self._index
        if index is None:
            done, of = self._done
            words = f"the index of similar photos is being made ({done} of {of}): come back later"
            raise Refused(503, "not_yet", words, headers={"Retry-After": "5"})
        found = await self.queue.call(lambda: index.nearest(photo, k))
        return await self.queue.in_thread(lambda: [self._told(one) for one in found])

    def _told(self, one: Neighbour) -> dict[str, Any]:
        values = {
            name: float(value) if isinstance(value, Decimal) else value for name, value in one.record.values.items() if name in self.fields
        }
        return {"id": one.record.id, "similarity": round(one.similarity, 6), "values": values, "photo": _thumbnail(one.record)}

    async def occlusion(self, photo: Image.Image, record: Record) -> dict[str, Any]:
        """How the answer changes with each part covered."""
        found = await self.queue.call(lambda: occlude(self.model, photo, record=record))
        return {"rows": found.rows, "columns": found.columns, "base": found.base, "changes": found.changes}


def _thumbnail(record: Record) -> str | None:
    """A small JPEG as a data URI; None when the photo is no longer there."""
    try:
        photo = photo_of(record)
    except PhotoError:
        return None
    photo.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
