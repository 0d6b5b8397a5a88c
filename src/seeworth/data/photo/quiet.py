"""libtiff without its own voice: what it finds wrong with a file it writes to stderr, past Python, besides telling Pillow, who raises.

One line or many for each hostile TIFF, in the middle of a server's log or of an import's progress. Knows nothing of photos.
"""

from __future__ import annotations

import ctypes

from PIL import Image


def silence_libtiff() -> bool:
    """Take its two handlers of messages out, for the whole process; return whether it could be done.

    They are reached through Pillow's own library, which brings libtiff along (its wheels on Linux and macOS) or is linked to the system's.
    Where it shows neither (libtiff linked in without its names, Windows) it goes on writing.
    """
    try:
        library = ctypes.CDLL(Image.core.__file__)
        handlers = (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler)
    except (AttributeError, OSError):
        return False
    for handler in handlers:
        handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        handler(None)
    return True
