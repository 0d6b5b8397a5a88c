"""The verb `serve`, for those who have not installed what it needs as well."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import SettingsError
from ..memory import share_freed_memory
from ..settings import ServeSettings

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")  # the extra `serve`


def run(settings: ServeSettings) -> None:
    """See `run.run`. Raises SettingsError when a library is not installed."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise SettingsError(f"serve needs {', '.join(missing)}, which is not installed: pip install 'seeworth[serve]'")
    share_freed_memory()  # a server lives long, and has several threads
    from .run import run as serve

    serve(settings)
