"""Files that are there whole or not at all: written under another name, then moved into place. Knows nothing of what they hold."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Any

import yaml

DRAFT = re.compile(r"\..+\.[0-9]+\.[0-9a-f]{8}")
"""The name of what `write_whole` leaves behind when it is killed."""


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file that is either there whole or not there, whoever else writes it and whenever this process is killed.

    Text is written as UTF-8. Raises OSError; then what stood under the name before still does.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        draft.write_bytes(data.encode() if isinstance(data, str) else data)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def share_tensors(folder: Path, like: Path) -> None:
    """Give the folder's safetensors files the mode of another file.

    The library leaves them to their owner alone, whatever the umask says: a server that runs as another user could not read them.
    """
    mode = like.stat().st_mode & 0o777
    for path in folder.glob("*.safetensors"):
        path.chmod(mode)


def yaml_text(data: Any) -> str:
    """Plain data as YAML that reads back as itself, in the order given: as words where that is so, escaped where not.

    The library writes the line ends of Unicode (U+0085, U+2028) as they are, and reads them as spaces.
    """
    text = str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    return text if yaml.safe_load(text) == data else str(yaml.safe_dump(data, sort_keys=False))
