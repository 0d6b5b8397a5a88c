"""Decoders without voices of their own: what they find wrong with a file they say in an exception, and some write it to stderr as well.

One line or many for each hostile file, in the middle of a server's log or of an import's progress. Knows nothing of photos.
"""

from __future__ import annotations

import ctypes
import logging

from PIL import _imaging


def silence_decoders() -> bool:
    """Keep libtiff's messages and Pillow's from stderr, in the whole process; return whether libtiff could be reached.

    Pillow's go on to whoever sets up logging. libtiff's two handlers are taken out, through Pillow's own library: it brings libtiff along
    (its wheels for Linux and macOS) or is linked to the system's. Where it shows no names of libtiff's (linked in whole, Windows) that
    goes on writing.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Python prints what has no handler
    try:
        library = ctypes.CDLL(_imaging.__file__)
        handlers = (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler)
    except (AttributeError, OSError):
        return False
    for handler in handlers:
        handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        handler(None)
    return True
