"""What a frozen vision tower makes of photos, computed once and kept: for every pass, every run of a sweep, evaluation and grounding.

    key         what features hang on: photo, tiling, tower weights, dtype
    compute     photos -> features, in batches
    store       FeatureStore: what is computed is kept in `seeworth.shards`, memory-mapped, safe under concurrent writers and kills

Knows nothing of training or answering.
"""

from .key import is_frozen
from .store import FeatureStore, features_folder

__all__ = ["FeatureStore", "features_folder", "is_frozen"]
