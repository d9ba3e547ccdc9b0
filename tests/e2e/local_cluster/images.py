"""The images that a cluster starts with: those of scripts/images, its DNS server and the container that holds a pod's network.

They come out of buildah's store and are unpacked into the seed (see `containerd`) unless the same ones are there already.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from local_cluster import containerd
from local_cluster.image_archive import relay
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
    there: dict[str, Any] = json.loads(listed.read_text()) if listed.exists() else {}
    if {name: each["id"] for name, each in there.items()} == ids:
        return
    with _seed_containerd(layout.seed) as socket:
        ctr = ["ctr", "--address", str(socket), "--namespace", "k8s.io"]
        for name, identity in ids.items():
            if name not in there or there[name]["id"] != identity:
                known = {layer for each in there.values() for layer in each["layers"]}
                if name in there:
                    # containerd collects what no image has any more, and would be quicker than the import of its successor.
                    tell([*ctr, "images", "tag", "--force", name, f"{name}-before"])
                layers = store.hand_over(name, known=known, importer=[*ctr, "images", "import", "-"])
                there[name] = {"id": identity, "layers": layers}
                listed.write_text(json.dumps(there, indent=2) + "\n")
        if gone := [name for name in tell([*ctr, "images", "ls", "--quiet"]).split() if name not in ids]:
            tell([*ctr, "images", "rm", "--sync", *gone])
        # Layers are unpacked by now; packed they would take the same gigabytes again.
        blobs = layout.seed / "root" / "io.containerd.content.v1.content" / "blobs" / "sha256"
        for blob in blobs.iterdir():
            if not _is_json(blob):
                tell([*ctr, "content", "rm", f"sha256:{blob.name}"])
    listed.write_text(json.dumps({name: there[name] for name in ids}, indent=2) + "\n")


def _is_json(blob: Path) -> bool:
    """Manifests and configurations are; layers are not."""
    with blob.open("rb") as handle:
        return handle.read(1) == b"{"


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

    def hand_over(self, name: str, *, known: Set[str], importer: list[str]) -> list[str]:
        """Pipes an image into `importer`, without the layers in `known`, which are unpacked already; the digests of all its layers."""
        push = [*self._buildah, "push", "--quiet", name, f"docker-archive:/dev/stdout:{name}"]
        with tempfile.TemporaryFile("w+") as said:
            source = subprocess.Popen(push, stdout=subprocess.PIPE, stderr=said)
            target = subprocess.Popen(importer, stdin=subprocess.PIPE, stdout=said, stderr=said)
            assert source.stdout is not None
            assert target.stdin is not None
            try:
                layers = relay(source.stdout, target.stdin, name=name, known=known)
            except (OSError, tarfile.TarError, LookupError, ValueError) as error:
                source.kill()
                layers = []
                print(f"the archive ended early: {error}", file=said, flush=True)
            finally:
                with contextlib.suppress(BrokenPipeError):
                    target.stdin.close()
            codes = target.wait(1800), source.wait(60)
            said.seek(0)
            if codes != (0, 0):
                raise ClusterError(f"{name}: could not be handed to containerd: {said.read()[-2000:]}")
        return layers


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
