"""Upload of a finished export to a Hugging Face repository: the files that export.json names, and nothing else that lies about.

The name, the token and what stands there already are looked at first, before hours are spent. Knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils._validators import validate_repo_id

from ..errors import RunError, SettingsError
from ..run_folder import MANIFEST as RUN
from .folder import MANIFEST

OWN_TO_A_REPOSITORY = {".gitattributes"}


@dataclass(frozen=True)
class Target:
    """A repository that may be written to."""

    api: HfApi
    name: str
    private: bool


def check_name(name: str) -> None:
    """Raise SettingsError unless it is owner/name as the Hub allows it."""
    try:
        validate_repo_id(name)
    except HFValidationError as problem:
        raise SettingsError(f"push {name!r} cannot be the name of a repository: {problem}") from problem
    if name.count("/") != 1:
        raise SettingsError(f"push {name!r} has no owner: expected owner/name")


def prepare(name: str, *, public: bool, overwrite: bool) -> Target:
    """Look at name, token, owner and repository; nothing is written yet.

    Raises SettingsError for a name that cannot be or is another's, for a missing or refused token, for a public repository without
    `public`, and for one that holds files without `overwrite`; RunError when the Hub cannot be reached.
    """
    check_name(name)
    if constants.HF_HUB_OFFLINE:
        raise SettingsError(f"push {name} needs the network, and HF_HUB_OFFLINE is set: unset it, or leave push out")
    if get_token() is None:
        raise SettingsError(f"push {name} needs a Hugging Face token: hf auth login, or set HF_TOKEN, or leave push out")
    api = HfApi()
    with _told(name, "could not be looked at"):
        account = _account(api, name)
        owners = {account["name"], *(one["name"] for one in account.get("orgs", []))}
        if (owner := name.split("/")[0]) not in owners:
            raise SettingsError(f"push {name}: the token is {account['name']}'s, for {', '.join(sorted(owners))}, not for {owner}")
        if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise SettingsError(f"push {name}: the token may only read: make one that may write, at {constants.ENDPOINT}/settings/tokens")
        _look(api, name, public=public, overwrite=overwrite)
    return Target(api, name, not public)


def _account(api: HfApi, name: str) -> dict[str, Any]:
    try:
        return dict(api.whoami())
    except HfHubHTTPError as problem:
        if problem.response.status_code in (401, 403):
            raise SettingsError(f"push {name}: the Hub refuses the token: hf auth login anew, or set HF_TOKEN to a valid one") from problem
        raise


def _look(api: HfApi, name: str, *, public: bool, overwrite: bool) -> None:
    try:
        found = api.model_info(name)
    except RepositoryNotFoundError:
        return
    if not found.private and not public:
        raise SettingsError(f"push {name}: that repository is public already: add --public, or name another")
    files = sorted({one.rfilename for one in found.siblings or []} - OWN_TO_A_REPOSITORY)
    if files and not overwrite:
        raise SettingsError(f"push {name}: that repository holds {len(files)} files ({files[0]}, ...): name another, or add --overwrite")


def upload(target: Target, folder: Path, manifest: Mapping[str, Any]) -> str:
    """Make the repository, if it is not there, and write the export's files into it in one commit; its address.

    Raises RunError; the export folder is whole then, and the same command uploads it.
    """
    with _told(target.name, f"was not uploaded; the export in {folder} is whole, and the same command uploads it"):
        address = target.api.create_repo(target.name, private=target.private, exist_ok=True)
        files = [CommitOperationAdd(name, _content(folder, name)) for name in (*manifest["files"], MANIFEST)]
        target.api.create_commit(target.name, files, commit_message="Export by seeworth")
    return str(address)


def _content(folder: Path, name: str) -> Path | bytes:
    return clean_run(folder / name, json.loads((folder / MANIFEST).read_text(encoding="utf-8"))) if name == RUN else folder / name


def clean_run(path: Path, manifest: Mapping[str, Any]) -> bytes:
    """run.json without the paths of this machine: the dataset by its folder's name, the base by its Hub id."""
    about = json.loads(path.read_text(encoding="utf-8"))
    base = manifest["base_model"] or Path(about["model"]).name
    about |= {"data": Path(about["data"]).name, "model": base}
    return (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()


@contextmanager
def _told(name: str, what: str) -> Iterator[None]:
    """The Hub's complaints in a line, with what the Hub said of it."""
    try:
        yield
    except HfHubHTTPError as problem:
        raise RunError(f"{name} {what}: the Hub answers {problem.response.status_code} {problem.server_message or ''}") from problem
    except (OSError, ValueError, httpx.HTTPError) as problem:
        raise RunError(f"{name} {what}: {type(problem).__name__}: {problem}") from problem
