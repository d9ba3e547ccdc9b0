"""Questions from the Hugging Face hub, by name and revision.

`datasets` fetches a set once and keeps it in its cache, so a second run needs no network. What the hub cannot give is said at once, with
the way to do without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from reasonrl.data.errors import DataError
from reasonrl.data.files import rows_of_dataset
from reasonrl.data.rows import Row


def read_hub_rows(name: str, *, subset: str | None, split: str, revision: str | None) -> Iterator[Row]:
    """The rows of one split of `name` (`org/set`). `revision` is a branch, tag or commit.

    Raises DataError when the hub cannot be reached and the cache lacks the set, or when set, subset, split or revision do not exist.
    """
    import datasets

    what = f"huggingFace {name}" + (f" ({subset})" if subset else "")
    try:
        dataset = datasets.load_dataset(name, subset, split=split, revision=revision)
    except (datasets.exceptions.DatasetNotFoundError, datasets.exceptions.DataFilesNotFoundError) as error:
        raise DataError(f"{what}: {error}. Check the name and the revision; a private or gated set also needs HF_TOKEN") from error
    except (ConnectionError, OSError) as error:
        raise DataError(
            f"{what}: the hub cannot be reached and the set is not in the cache ({_first_line(error)}). On a machine with a network, "
            "datasets.load_dataset(…).save_to_disk(DIRECTORY) writes it out; copy that here and use path: DIRECTORY"
            + (" (HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set)" if _offline() else "")
        ) from error
    except ValueError as error:
        raise DataError(f"{what}, split {split}, revision {revision or 'newest'}: {_first_line(error)}") from error
    return rows_of_dataset(dataset)


def _offline() -> bool:
    return any(os.environ.get(name, "0") not in ("", "0") for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
