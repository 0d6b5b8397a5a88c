"""How large the pictures in an AVIF file really are: the boxes say one thing, the AV1 stream in them may say another.

libavif believes the stream, decodes it whole and shrinks it to what the box says, so a file of 2 KB can take gigabytes.
Here the stream's own header is read: ISO/IEC 14496-12 (boxes), 23008-12 (items), AV1 specification 5.5 (sequence header).
Knows nothing of decoding.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import PhotoError

_MAX_ITEMS = 4096
_LOOK = 256  # bytes of an item; its sequence header stands at the start


def stream_sizes(data: bytes) -> list[tuple[int, int]]:
    """(width, height) in the sequence header of every AV1 item of an AVIF file, tiles and alpha too.

    Raises PhotoError, code damaged or unsupported, when they cannot be told; IndexError when the file is cut short.
    """
    start, end = _inside(data, b"meta", 0, len(data))
    start += 4  # version and flags
    coded = set(_coded_items(data, *_inside(data, b"iinf", start, end)))
    idat = next((where for kind, where, _ in _boxes(data, start, end) if kind == b"idat"), 0)
    found = {}
    for item, offset in _places(data, *_inside(data, b"iloc", start, end), idat):
        if item in coded:
            found[item] = _sequence_size(data[offset : offset + _LOOK])
    if not coded or len(found) != len(coded):
        raise PhotoError("damaged", "an AVIF whose pictures are not where it says")
    return list(found.values())


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the bodies of the boxes that stand one after the other."""
    for _ in range(_MAX_ITEMS * 2):
        if start + 8 > end:
            return
        size, kind, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        stop = start + size if size else end
        if stop > end or stop < start + head:
            raise PhotoError("damaged", "an AVIF whose boxes are larger than the file")
        yield kind, start + head, stop
        start = stop
    raise PhotoError("damaged", "an AVIF of too many boxes")


def _inside(data: bytes, kind: bytes, start: int, end: int) -> tuple[int, int]:
    for found, begin, stop in _boxes(data, start, end):
        if found == kind:
            return begin, stop
    raise PhotoError("damaged", f"an AVIF without {kind.decode()} box")


def _coded_items(data: bytes, start: int, end: int) -> Iterator[int]:
    """The numbers of the items that are AV1 pictures."""
    head = 6 if data[start] == 0 else 8
    for kind, begin, _ in _boxes(data, start + head, end):
        wide = 4 if data[begin] == 3 else 2
        if kind == b"infe" and data[begin + 6 + wide : begin + 10 + wide] == b"av01":
            yield int.from_bytes(data[begin + 4 : begin + 4 + wide], "big")


def _places(data: bytes, start: int, end: int, idat: int) -> Iterator[tuple[int, int]]:
    """(item, where its bytes begin) of every item in the iloc box."""
    version, sizes = data[start], data[start + 4 : start + 6]
    offset_size, length_size, base_size = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4
    index_size = sizes[1] & 15 if version else 0
    wide = 4 if version == 2 else 2
    at = start + 6

    def take(width: int) -> int:
        nonlocal at
        at += width
        if at > end:
            raise PhotoError("damaged", "an AVIF whose list of items is cut short")
        return int.from_bytes(data[at - width : at], "big")

    for _ in range(min(take(wide), _MAX_ITEMS)):
        item = take(wide)
        method = take(2) & 15 if version else 0
        take(2)
        base = take(base_size)
        extents = take(2)
        for number in range(extents):
            take(index_size)
            offset = take(offset_size)
            length = take(length_size)
            if number == 0:
                if (extents > 1 and length < _LOOK) or method > 1:
                    raise PhotoError("unsupported", "an AVIF whose picture stands in pieces: save it as JPEG or PNG")
                yield item, base + offset + (idat if method else 0)


def _sequence_size(stream: bytes) -> tuple[int, int]:
    """(width, height) in the first sequence header of an AV1 stream."""
    at = 0
    while at + 2 < len(stream):
        kind, extended, sized = stream[at] >> 3 & 15, stream[at] & 4, stream[at] & 2
        at += 2 if extended else 1
        size = shift = 0
        while sized:
            size |= (stream[at] & 127) << shift
            shift += 7
            at += 1
            if stream[at - 1] < 128:
                break
        if kind == 1:
            return _size(stream[at : at + 32])
        if not sized:
            break
        at += size
    raise PhotoError("damaged", "an AVIF whose picture has no header")


def _size(header: bytes) -> tuple[int, int]:
    bits = int.from_bytes(header, "big")
    left = 8 * len(header)

    def take(width: int) -> int:
        nonlocal left
        left -= width
        if left < 0:
            raise PhotoError("damaged", "an AVIF whose picture is cut short")
        return bits >> left & (1 << width) - 1

    take(4)  # profile, still picture
    if take(1):  # the short form for still pictures
        take(5)
    else:
        if take(1):
            raise PhotoError("unsupported", "an AVIF with the clock of a film: save it as JPEG or PNG")
        delays = take(1)
        for _ in range(take(5) + 1):
            take(12)
            if take(5) > 7:
                take(1)
            if delays and take(1):
                take(4)
    width_bits, height_bits = take(4) + 1, take(4) + 1
    return take(width_bits) + 1, take(height_bits) + 1
