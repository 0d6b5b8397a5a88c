"""Where a run's numbers go: log.jsonl always, and the trackers of `report_to` as listeners to the same events.

    log.py          Track: log.jsonl, speed.jsonl, and what listeners hear of them
    listener.py     Listener, the shape of a tracker; `listeners` makes those that report_to names
    wandb.py        Weights & Biases        tensorboard.py  TensorBoard        trackio.py  Trackio

log.jsonl holds only what data, settings and weights decide, so that a run that was killed and resumed ends with the same bytes.
Trackers are optional guests: all that they write lies in the run folder, and one that fails is told once and left out.
"""

from __future__ import annotations

from .listener import About, Listener, Row, listeners, tracker_names
from .log import Track

__all__ = ["About", "Listener", "Row", "Track", "listeners", "tracker_names"]
