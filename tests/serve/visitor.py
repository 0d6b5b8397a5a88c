"""Somebody at the web page: brings photos, reads cards, corrects, downloads. And the photos that are brought."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from browser import Window
from serve.fake_api import COLOURS

RED, BLUE, GREY, YELLOW = COLOURS["RED COATS"], COLOURS["BLUE HATS"], (120, 120, 120), (250, 240, 30)


def photo(colour: tuple[int, int, int], size: tuple[int, int] = (60, 80), kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind, **how)
    return buffer.getvalue()


def noise(size: tuple[int, int], kind: str = "PNG") -> bytes:
    """A photo that no format makes light."""
    buffer = io.BytesIO()
    bands = [Image.effect_noise(size, 90) for _ in range(3)]
    Image.merge("RGB", bands).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {"compress_level": 1}))
    return buffer.getvalue()


class User:
    """Somebody at the page."""

    def __init__(self, window: Window, address: str) -> None:
        self.window, self.page, self.address = window, window.page, address

    def comes(self) -> User:
        self.page.goto(self.address)
        self.page.locator("#about", has_text="looks at each photo").wait_for()
        return self

    def brings(self, *files: tuple[str, bytes], kind: str = "image/png") -> None:
        """Through the file chooser, as it is opened by the button."""
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name="Choose photos").click()
        chooser.value.set_files([{"name": name, "mimeType": kind, "buffer": data} for name, data in files])

    def sees(self, count: int, state: str = "answered") -> None:
        self.page.locator(f"article[data-state={state}]").nth(count - 1).wait_for(state="attached")
        assert self.page.locator(f"article[data-state={state}]").count() == count

    def card(self, name: str) -> Any:
        return self.page.get_by_role("article", name=name)

    def hears(self, words: str) -> None:
        self.page.locator("#live", has_text=words).wait_for(state="attached")

    def corrects(self, name: str, values: dict[str, str]) -> None:
        self.card(name).get_by_role("button", name="Correct it").click()
        for label, value in values.items():
            self.card(name).get_by_label(label).fill(value)
        self.card(name).get_by_role("button", name="Keep").click()

    def downloads(self, form: str, folder: Path) -> Path:
        self.page.get_by_label("as", exact=True).select_option(form)
        with self.page.expect_download() as found:
            self.page.get_by_role("button", name="Download").click()
        path = folder / found.value.suggested_filename
        found.value.save_as(path)
        return path

    def fault_free(self) -> None:
        """Nothing on the console, nothing asked of another host. (What the browser itself logs of a refusal is left out.)"""
        assert [one for one in self.window.faults if "Failed to load resource" not in one] == []
        assert [one for one in self.window.requests if not one.startswith(self.address + "/")] == []
