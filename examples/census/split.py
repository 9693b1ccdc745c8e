"""How a census is divided: packages over threads, and a thread's packages into parcels of work.

Rule 1: every package is in exactly one thread, every file in exactly one parcel.
Rule 2: the same packages are divided the same way: a step that runs again does the same work.
"""

from typing import TypedDict

from examples.census.folder import Package, list_packages, resolve
from examples.census.summary import Threshold

__all__ = ["Parcel", "divide", "inputs"]

PARCEL_BYTES_MAX = 300_000  # About a second of work on a slow core.
PACKAGES_MIN = 5  # Packages of one thread: with fewer, there would be nothing to run side by side.
PACKAGES_MAX = 40  # With more, one thread's state and its review would grow out of hand.


class Parcel(TypedDict):
    """The work of one `parse` step: a package, or one part of a large one."""

    root: str
    name: str
    part: int
    files: list[str]
    threshold: Threshold


def divide(root: str, packages: list[Package], threshold: Threshold) -> list[Parcel]:
    """Divide packages into parcels, in the packages' order."""
    parcels: list[Parcel] = []
    for package in packages:
        for part, files in enumerate(_parts(package["files"])):
            parcel = Parcel(
                root=root, name=package["name"], part=part, files=files, threshold=threshold
            )
            parcels.append(parcel)
    return parcels


def inputs(path: str | None = None, threads: int = 8) -> list[dict[str, object]]:
    """Split the census of a folder into inputs for that many threads or more.

    The inputs cover disjoint sets of packages, of about the same size in bytes. Each has between
    `PACKAGES_MIN` and `PACKAGES_MAX` packages: a large folder gives more inputs than `threads`, a
    small one fewer, but at least one. Paths in them are absolute, because a worker may run in
    another folder than the caller.

    Raises:
        ValueError: when `threads` is less than one, or the folder holds nothing to count.
        FileNotFoundError, NotADirectoryError: when there is no such folder.
    """
    if threads < 1:
        message = f"a census needs at least one thread, not {threads}"
        raise ValueError(message)
    root = resolve(path)
    packages = list_packages(root)
    wanted = max(threads, -(-len(packages) // PACKAGES_MAX))
    shares = _balanced(packages, max(1, min(wanted, len(packages) // PACKAGES_MIN)))
    return [{"path": root, "only": share} for share in shares]


def _parts(files: dict[str, int]) -> list[list[str]]:
    parts: list[list[str]] = []
    part_bytes = 0
    for file, size in files.items():
        if not parts or part_bytes + size > PARCEL_BYTES_MAX:
            parts.append([])
            part_bytes = 0
        parts[-1].append(file)
        part_bytes += size
    return parts


def _balanced(packages: list[Package], share_count: int) -> list[list[str]]:
    """Give each package, largest first, to the share with the fewest bytes, within the limits."""
    shares: list[list[str]] = [[] for _ in range(share_count)]
    share_bytes = [0] * share_count
    sized = sorted((-sum(package["files"].values()), package["name"]) for package in packages)
    for given, (size, name) in enumerate(sized):
        # The last packages are for the shares that have too few, if there are any.
        missing = sum(max(0, PACKAGES_MIN - len(share)) for share in shares)
        count_max = PACKAGES_MIN if len(sized) - given <= missing else PACKAGES_MAX
        open_shares = [index for index, share in enumerate(shares) if len(share) < count_max]
        lightest = min(open_shares or range(share_count), key=lambda index: share_bytes[index])
        shares[lightest].append(name)
        share_bytes[lightest] -= size
    return [sorted(share) for share in shares]
