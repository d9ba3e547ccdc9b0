"""The images that a cluster starts with: those of scripts/images, its DNS server and the container that holds a pod's network.

They come out of buildah's store and are unpacked into the seed (see `containerd`) unless the same ones are there already.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from local_cluster import containerd
from local_cluster.layout import ROOT, Layout, cache_home
from local_cluster.processes import ClusterError, end, known, start, tell, wait_until
from local_cluster.programs import coredns_program

COREDNS = "localhost/reasonrl/coredns:1"
_PAUSE_SOURCE = """
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void leave(int number) { (void)number; _exit(0); }
static void reap(int number) { (void)number; while (waitpid(-1, NULL, WNOHANG) > 0) {} }
int main(void) { signal(SIGINT, leave); signal(SIGTERM, leave); signal(SIGCHLD, reap); for (;;) pause(); }
"""


def image(name: str) -> str:
    """The full name of an image of scripts/images, with the version of the project."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    version = next(line.split('"')[1] for line in lines if line.startswith("version = "))
    return f"localhost/reasonrl/{name}:{version}"


def fill_seed(layout: Layout, wanted: list[str]) -> None:
    """Sees that the seed has `wanted` (images of buildah's store) and what the cluster itself needs, and nothing old.

    Raises ClusterError for an image that nobody built.
    """
    store = _Store()
    _make_pause(store)
    _make_coredns(store)
    ids = {name: store.identity(name) for name in (containerd.PAUSE, COREDNS, *wanted)}
    if missing := [name for name, identity in ids.items() if identity is None]:
        raise ClusterError(f"{', '.join(missing)}: not built; run scripts/images (make images)")
    listed = layout.seed / "images.json"
    there: Mapping[str, str] = json.loads(listed.read_text()) if listed.exists() else {}
    if there == ids:
        return
    with _seed_containerd(layout.seed) as socket:
        ctr = ["ctr", "--address", str(socket), "--namespace", "k8s.io"]
        for name in ids:
            if there.get(name) != ids[name]:
                parcel = layout.seed / "parcels" / name.replace("/", "-").replace(":", "-")
                parcel.parent.mkdir(exist_ok=True)
                store.hand_over(name, parcel=parcel, importer=[*ctr, "images", "import", "-"])
        if gone := [name for name in there if name not in ids]:
            tell([*ctr, "images", "rm", "--sync", *gone])
        # Layers are unpacked by now; packed they would take the same gigabytes again.
        blobs = layout.seed / "root" / "io.containerd.content.v1.content" / "blobs" / "sha256"
        for blob in blobs.iterdir():
            if not _is_json(blob):
                tell([*ctr, "content", "rm", f"sha256:{blob.name}"])
    listed.write_text(json.dumps(ids, indent=2) + "\n")


@contextlib.contextmanager
def _seed_containerd(seed: Path) -> Iterator[Path]:
    """containerd on the seed, for as long as the block lasts: its socket."""
    state = seed / "state"
    state.mkdir(parents=True, exist_ok=True)
    configuration = seed / "containerd.toml"
    configuration.write_text(containerd.settings(root=seed / "root", state=state, network=None))
    socket, log = containerd.socket_of(state), seed / "containerd.log"
    process = start(["containerd", "--config", configuration], log=log)
    daemon = known(process.pid)

    def answers() -> bool:
        if process.poll() is not None:
            raise ClusterError(f"containerd ended at once with {process.returncode}; see {log}")
        return subprocess.run(["ctr", "--address", str(socket), "version"], check=False, capture_output=True).returncode == 0

    try:
        wait_until(answers, what="containerd", seconds=60.0, log=log)
        yield socket
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        end(daemon, grace=0.0)


class _Store:
    """buildah's store, where scripts/images puts what it builds."""

    def __init__(self) -> None:
        home = Path(os.environ.get("IMAGES_HOME") or cache_home() / "images")
        self._buildah = ["buildah", "--root", str(home / "store"), "--runroot", str(home / "run")]

    def identity(self, name: str) -> str | None:
        with contextlib.suppress(ClusterError):
            lines = tell([*self._buildah, "images", "--quiet", "--no-trunc", name]).split()
            return lines[0] if lines else None
        return None

    def make(self, name: str, program: Path) -> None:
        """An image with one program and nothing else."""
        container = tell([*self._buildah, "from", "scratch"]).strip()
        try:
            tell([*self._buildah, "add", "--quiet", "--chmod", "755", container, str(program), f"/{program.name}"])
            tell([*self._buildah, "config", "--entrypoint", json.dumps([f"/{program.name}"]), container])
            tell([*self._buildah, "commit", "--quiet", container, name])
        finally:
            tell([*self._buildah, "rm", container])

    def hand_over(self, name: str, *, parcel: Path, importer: list[str]) -> None:
        """Gives an image to `importer`, a command that reads an archive. `parcel` is a directory that remembers which layers it was given
        before: those are not given again, so that a change of our code is handed over in seconds although the image has gigabytes."""
        try:
            self._hand_over(name, parcel=parcel, importer=importer)
        except ClusterError:
            # What the parcel remembers and what the importer has may have come apart; then everything is given once more.
            if not parcel.exists():
                raise
            shutil.rmtree(parcel)
            self._hand_over(name, parcel=parcel, importer=importer)

    def _hand_over(self, name: str, *, parcel: Path, importer: list[str]) -> None:
        (parcel / "index.json").unlink(missing_ok=True)
        tell([*self._buildah, "push", "--quiet", "--disable-compression", name, f"oci:{parcel}:{name}"], seconds=1800.0)
        index = json.loads((parcel / "index.json").read_text())
        for manifest in index["manifests"]:
            manifest.setdefault("annotations", {})["io.containerd.image.name"] = name
        (parcel / "index.json").write_text(json.dumps(index))
        blobs = sorted((parcel / "blobs" / "sha256").iterdir())
        target = subprocess.Popen(importer, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert target.stdin is not None
        with contextlib.suppress(BrokenPipeError), tarfile.open(fileobj=target.stdin, mode="w|") as archive:
            for path in (parcel / "oci-layout", parcel / "index.json", *(each for each in blobs if not _hollow(each))):
                archive.add(path, arcname=str(path.relative_to(parcel)))
        said = target.communicate(timeout=1800)[0].decode(errors="replace")
        if target.returncode != 0:
            raise ClusterError(f"{name}: containerd refused it: {said.strip()[-2000:]}")
        for blob in blobs:
            if not _hollow(blob) and not _is_json(blob):
                size = blob.stat().st_size
                os.truncate(blob, 0)
                os.truncate(blob, size)


def _hollow(blob: Path) -> bool:
    """Whether a file has a length and no contents: a layer that was handed over before."""
    found = blob.stat()
    return found.st_size > 0 and found.st_blocks == 0


def _is_json(blob: Path) -> bool:
    """Manifests and configurations are; layers are not."""
    with blob.open("rb") as handle:
        return handle.read(1) == b"{"


def _make_pause(store: _Store) -> None:
    if store.identity(containerd.PAUSE) is None:
        with tempfile.TemporaryDirectory() as directory:
            source, program = Path(directory, "pause.c"), Path(directory, "pause")
            source.write_text(_PAUSE_SOURCE)
            tell(["cc", "-Os", "-static", "-s", "-o", program, source])
            store.make(containerd.PAUSE, program)


def _make_coredns(store: _Store) -> None:
    if store.identity(COREDNS) is None:
        store.make(COREDNS, coredns_program())
