"""What kind of file system a folder lies on: no write-ahead log works on one shared over a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")

# Locks or shared memory of these are not those of one machine: SQLite's WAL can lose or tear writes there.
NETWORK: Final = frozenset(
    {"9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs"}
    | {"nfs4", "ocfs2", "orangefs", "smb3", "smbfs"}
    | {f"fuse.{kind}" for kind in ("ceph", "davfs2", "glusterfs", "rclone", "s3fs", "sshfs")}
)


def file_system_of(path: Path, *, mounts: Path = MOUNTS) -> str:
    """Type of the file system that holds `path`, as "ext4"; empty where the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # no Linux
        return ""
    place = path.resolve()
    found, depth = "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")[0]
        if len(fields) < 5 or not kind:
            continue
        mount = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        # of two mounts on one place the later one is on top
        if place.is_relative_to(mount) and len(mount.parts) >= depth:
            found, depth = kind, len(mount.parts)
    return found


def is_network(kind: str) -> bool:
    """Whether files of this kind of file system are shared with other machines."""
    return kind in NETWORK
