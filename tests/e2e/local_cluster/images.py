"""The images that a cluster starts with: those of scripts/images, its DNS server and the container that holds a pod's network.

They come out of buildah's store and are unpacked into the seed (see `containerd`) unless the same ones are there already.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
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
        if gone := [name for name in there if there[name] != ids.get(name)]:
            tell([*ctr, "images", "rm", "--sync", *gone])
        for name in ids:
            if there.get(name) != ids[name]:
                store.hand_over(name, [*ctr, "images", "import", "--no-unpack=false", "-"])
        # Layers are unpacked by now; packed they would take the same gigabytes again.
        for line in tell([*ctr, "content", "ls"]).splitlines()[1:]:
            if _is_layer(layout.seed, digest := line.split()[0]):
                tell([*ctr, "content", "rm", digest])
    listed.write_text(json.dumps(ids, indent=2) + "\n")


def _is_layer(seed: Path, digest: str) -> bool:
    """Whether a blob is a layer, and no manifest or configuration: those are JSON."""
    algorithm, _, value = digest.partition(":")
    blob = seed / "root" / "io.containerd.content.v1.content" / "blobs" / algorithm / value
    with blob.open("rb") as handle:
        return handle.read(1) != b"{"


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

    def hand_over(self, name: str, importer: list[str]) -> None:
        """Pipes an image into `importer`; nothing lies on the disk in between."""
        push = [*self._buildah, "push", "--quiet", name, f"docker-archive:/dev/stdout:{name}"]
        with tempfile.TemporaryFile("w+") as said:
            source = subprocess.Popen(push, stdout=subprocess.PIPE, stderr=said)
            target = subprocess.Popen(importer, stdin=source.stdout, stdout=said, stderr=said)
            assert source.stdout is not None
            source.stdout.close()
            codes = target.wait(1200), source.wait(60)
            said.seek(0)
            if codes != (0, 0):
                raise ClusterError(f"{name}: could not be handed to containerd: {said.read()[-2000:]}")


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
