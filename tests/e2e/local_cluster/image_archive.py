"""Image archives on their way from buildah to containerd: only the layers that containerd has not unpacked yet go along.

buildah writes Docker's form of an archive, with all layers, each by its digest. containerd takes the OCI's form as well, and there a layer
that it has unpacked may be missing. So a change of our code hands over megabytes, although the image has gigabytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Set
from typing import IO, Any

_OCI = "application/vnd.oci.image"


def relay(source: IO[bytes], target: IO[bytes], *, name: str, known: Set[str]) -> list[str]:
    """Reads a Docker archive of the image `name` and writes it as an OCI archive without the layers in `known`. Returns the digests of its
    layers, lowest first. Raises tarfile.TarError, LookupError or ValueError for what is no such archive."""
    configuration, sizes = b"", dict[str, int]()
    with tarfile.open(fileobj=source, mode="r|") as before, tarfile.open(fileobj=target, mode="w|") as after:
        for member in before:
            stem, _, ending = member.name.rpartition(".")
            content = before.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            if ending == "tar" and "/" not in stem:
                sizes[f"sha256:{stem}"] = member.size
                if f"sha256:{stem}" not in known:
                    _add(after, f"blobs/sha256/{stem}", content, member.size)
            elif ending == "json" and len(stem) == 64:
                configuration = content.read()
        layers: list[str] = json.loads(configuration)["rootfs"]["diff_ids"]
        described = [{"mediaType": f"{_OCI}.layer.v1.tar", "digest": layer, "size": sizes[layer]} for layer in layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _blob(after, configuration, f"{_OCI}.config.v1+json"),
            "layers": described,
        }
        pointer = _blob(after, json.dumps(manifest).encode(), f"{_OCI}.manifest.v1+json")
        pointer["annotations"] = {"io.containerd.image.name": name}
        _add_bytes(after, "index.json", json.dumps({"schemaVersion": 2, "manifests": [pointer]}).encode())
        _add_bytes(after, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    return layers


def _blob(archive: tarfile.TarFile, content: bytes, kind: str) -> dict[str, Any]:
    """Adds a blob; its descriptor."""
    digest = hashlib.sha256(content).hexdigest()
    _add_bytes(archive, f"blobs/sha256/{digest}", content)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    _add(archive, name, io.BytesIO(content), len(content))


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    archive.addfile(entry, content)
