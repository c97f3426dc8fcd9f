"""What a run leaves, and what others have left: files, tables and links, which people find with the run.

A file can also simply be written into the directory that ``ATTUNE_ARTIFACTS`` names; it is stored when the process has ended.
What is left here is there at once.

With the ``scope`` "execution" the run has an artifact of its own; otherwise it leaves the next version of what runs of its action
leave under that name.

A run may read what runs of its own action have left; for what others have left its action asks for the permission ``read`` on
``artifact``, and so it does to list any.
"""

from __future__ import annotations

import json
import mimetypes
import os
import urllib.parse
from typing import Any, Iterable, Iterator, Mapping, NamedTuple, Optional, Union

from . import _api

__all__ = ["Artifact", "Version", "file", "link", "list", "read", "table"]


class Version(NamedTuple):
    """A content that was left."""

    ref: str
    """That of the artifact: ``pack.action.name``."""
    version: int
    """Counts from 1. The same content again, by the same run, makes no other version."""
    size: int
    sha256: str


class Artifact(NamedTuple):
    """What there is, with its newest version."""

    ref: str
    type: str
    """``file``, ``table`` or ``link``."""
    label: Optional[str]
    owner: Optional[str]
    """The ref of the action, or of what else it belongs to."""
    latest: Optional[Version]
    """None once none of its versions is kept any more."""


def list(  # noqa: A001
    match: Optional[str] = None, *, owner: Optional[str] = None, type: Optional[str] = None
) -> "Iterator[Artifact]":
    """The artifacts by their refs: those whose ref contains ``match``, of the action or pack ``owner``, of this ``type``."""
    cursor = None
    while True:
        query = {"match": match, "owner": owner, "type": type, "cursor": cursor}
        page = _api.request("GET", "/api/v1/artifacts", query=query)
        for item in page["items"]:
            latest = item.get("latest")
            yield Artifact(
                item["ref"], item["type"], item.get("label"), item.get("owner"), _version(latest) if latest else None
            )
        cursor = page.get("next_cursor")
        if not cursor:
            return


def read(ref: str, version: Union[int, str] = "latest") -> bytes:
    """The content of a version, as it was left: a table and a link are JSON. Raises :class:`attune.NotFound` if there is none."""
    path = f"/api/v1/artifacts/{urllib.parse.quote(ref, safe='')}/versions/{urllib.parse.quote(str(version), safe='')}"
    content: bytes = _api.request("GET", path, headers={"Accept": "*/*"}, raw=True)
    return content


def file(
    name: str,
    content: Union[str, bytes, "os.PathLike[str]"],
    *,
    content_type: Optional[str] = None,
    label: Optional[str] = None,
    scope: Optional[str] = None,
    keep_versions: Optional[int] = None,
    keep_days: Optional[int] = None,
) -> Version:
    """Leaves a text, bytes, or the file at a path. The type of the content follows from the name, unless it is given."""
    if isinstance(content, str):
        data = content.encode()
        default = "text/plain; charset=utf-8"
    elif isinstance(content, (bytes, bytearray, memoryview)):
        data = bytes(content)
        default = "application/octet-stream"
    elif isinstance(content, os.PathLike):
        with open(content, "rb") as source:
            data = source.read()
        default = mimetypes.guess_type(os.fspath(content))[0] or "application/octet-stream"
    else:
        raise TypeError(f"the content is of the type {type(content).__name__}, expected str, bytes or a path")
    kind = content_type or mimetypes.guess_type(name)[0] or default
    return _leave(
        name, data, kind, type="file", label=label, scope=scope, keep_versions=keep_versions, keep_days=keep_days
    )


def table(
    name: str,
    rows: "Iterable[Mapping[str, Any]]",
    *,
    label: Optional[str] = None,
    scope: Optional[str] = None,
    keep_versions: Optional[int] = None,
    keep_days: Optional[int] = None,
) -> Version:
    """Leaves a table. Each row names its values; the columns are all names, in the order in which they come."""
    from ._action import to_json

    data = to_json([dict(row) for row in rows]).encode()
    return _leave(
        name,
        data,
        "application/json",
        type="table",
        label=label,
        scope=scope,
        keep_versions=keep_versions,
        keep_days=keep_days,
    )


def link(name: str, url: str, *, label: Optional[str] = None, scope: Optional[str] = None) -> Version:
    """Leaves an address, which people see as ``label``."""
    content = {"url": url} if label is None else {"url": url, "label": label}
    return _leave(name, json.dumps(content).encode(), "application/json", type="link", scope=scope)


def _leave(name: str, data: bytes, content_type: str, **query: Any) -> Version:
    execution = os.environ.get("ATTUNE_EXECUTION_ID")
    if not execution:
        raise _api.ApiError("ATTUNE_EXECUTION_ID is not set: only the process of a run leaves artifacts")
    path = f"/api/v1/executions/{execution}/artifacts/{urllib.parse.quote(name, safe='')}"
    # Sent again it is the same version.
    view = _api.request(
        "POST", path, query=query, content=data, headers={"Content-Type": content_type}, idempotent=True
    )
    return _version(view)


def _version(view: "Mapping[str, Any]") -> Version:
    return Version(view["ref"], view["version"], view["size"], view["sha256"])
