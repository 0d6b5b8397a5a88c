"""A Hugging Face data set by its name: its data files fetched into a folder, which is then read as any folder.

    DBQ/Burberry.Product.prices.United.States              owner/name, when there is no such path on disk
    hf://datasets/owner/name@revision/folder               a branch, tag or commit, and a folder or file of it

Only tables, photos and README.md are fetched, never a script: nothing of a data set is ever run. The folder lies in
Hugging Face's cache (HF_HOME) under the commit's name, so a second import fetches nothing. Knows nothing of tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import DataError
from .folder import METADATA_NAMES, PHOTO_SUFFIXES
from .shards import is_table

_NAME = r"[A-Za-z0-9_][\w.-]*"
_BARE = re.compile(rf"{_NAME}/{_NAME}")
_REFS = re.compile(r"(refs/[^/]+/[^/]+|[^/]+)(?:/(.+))?")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".zst", ".xz", ".bz2", ".rar")


@dataclass(frozen=True)
class HubName:
    """A data set on the Hub; `below` is a folder or file in it, "" the whole set."""

    name: str
    revision: str = "main"
    below: str = ""


def hub_name(text: str) -> HubName | None:
    """What a source that is no path means on the Hub, None when it cannot be a name there."""
    if found := re.match(r"(?:hf://?datasets/|https://?huggingface\.co/datasets/)(.*)", text):  # a Path makes one / of //
        name, at, rest = found[1].partition("@")
        if not at:
            parts = name.strip("/").split("/")
            name, below = "/".join(parts[:2]), "/".join(parts[2:])
            below = re.sub(r"^(?:tree|blob)/main/?", "", below)
            return HubName(name, "main", below) if _BARE.fullmatch(name) else None
        said = _REFS.fullmatch(rest.strip("/"))
        return HubName(name, said[1], said[2] or "") if said and _BARE.fullmatch(name) else None
    if not _BARE.fullmatch(text) or is_table(Path(text)) or Path(text).parts[0] in ("..", ".") or Path(text).parent.exists():
        return None
    return HubName(text)


def fetch(wanted: HubName) -> tuple[Path, str]:
    """Fetch a data set's files; return (folder or file, what the reader should know). Raises DataError."""
    from huggingface_hub import HfApi, constants, errors, snapshot_download  # takes a second to load

    network: type[Exception] = errors.HfHubHTTPError.__bases__[0]  # httpx's, of whichever httpx the library is made for
    where = f"the Hugging Face data set {wanted.name}"
    try:
        info = HfApi().dataset_info(wanted.name, revision=wanted.revision, timeout=30)
        commit = str(info.sha)
        files = _chosen([one.rfilename for one in info.siblings or []], wanted)
        home = Path(constants.HF_HOME) / "seeworth" / "datasets" / wanted.name.replace("/", "--") / commit
        snapshot_download(wanted.name, repo_type="dataset", revision=commit, local_dir=home, allow_patterns=files)
    except errors.OfflineModeIsEnabled as problem:
        raise DataError(f"{where}: HF_HUB_OFFLINE is set, so nothing is fetched: unset it, or give the path of a local clone") from problem
    except errors.GatedRepoError as problem:
        raise DataError(f"{where}: its owner asks for agreement first: accept on its page, then `hf auth login`") from problem
    except errors.RevisionNotFoundError as problem:
        raise DataError(f"{where}: has no revision {wanted.revision!r}") from problem
    except errors.RepositoryNotFoundError as problem:
        raise DataError(f"{where}: there is no such set, or it is private (then `hf auth login`); and no such path on disk") from problem
    except errors.HFValidationError as problem:
        raise DataError(f"{where}: {problem}") from problem
    except (OSError, ValueError, network) as problem:  # ValueError: an answer that is not the Hub's
        words = " ".join(str(problem).split())[:200] or type(problem).__name__
        raise DataError(f"{where}: cannot be fetched ({words}): try again, or give the path of a local clone") from problem
    return home / wanted.below, f"{where} was taken at commit {commit}"


def _chosen(names: list[str], wanted: HubName) -> list[str]:
    """The files worth fetching: the tables, the photos when the tables hold none, the README."""
    names = [name for name in names if ".." not in PurePosixPath(name).parts and not name.startswith("/")]
    below = [name for name in names if not wanted.below or name == wanted.below or name.startswith(wanted.below.rstrip("/") + "/")]
    if not below:
        raise DataError(f"the Hugging Face data set {wanted.name}: holds no {wanted.below!r}; it holds {', '.join(sorted(names)[:10])}")
    tables = [name for name in below if is_table(PurePosixPath(name))]
    embedded = any(name.endswith((".parquet", ".arrow")) and PurePosixPath(name).name not in METADATA_NAMES for name in tables)
    photos = [] if embedded else [name for name in below if PurePosixPath(name).suffix.lower() in PHOTO_SUFFIXES]
    if not tables and not photos:
        raise DataError(f"the Hugging Face data set {wanted.name}: {_what_it_is(below, wanted)}")
    readme = [name for name in names if name == "README.md"]
    return [*(re.sub(r"([\[*?])", r"[\1]", name) for name in (*tables, *photos, *readme))]


def _what_it_is(names: list[str], wanted: HubName) -> str:
    if scripts := [name for name in names if name.endswith(".py")]:
        return (
            f"is made by a script, {scripts[0]}, and no code of a data set is ever run here: the Hub may have made tables of it: "
            f"try hf://datasets/{wanted.name}@refs/convert/parquet"
        )
    if archives := [name for name in names if name.endswith(_ARCHIVES)]:
        return f"holds archives ({archives[0]}), which are not unpacked: fetch and unpack it, then import the folder"
    return f"holds no table and no photo; its files are {', '.join(sorted(names)[:10]) or 'none'}"

