"""Packs a folder as an archive that has the same bytes whenever the same files go in, and its checksum.

    python3 scripts/archive.py FOLDER ARCHIVE.tar.gz|ARCHIVE.zip TIME

Names are sorted, owners are 0, and every file has TIME, in seconds since 1970. The checksum goes to ARCHIVE.sha256, in
the form of sha256sum. No archiver does this alike on Linux, macOS and Windows.
"""

import gzip
import hashlib
import sys
import tarfile
import time
import zipfile
from pathlib import Path

# The first time that a ZIP archive can hold.
EARLIEST = 315532800


def mode(file: Path, folder: Path) -> int:
    """Returns the permissions of a file: those of a program for what lies at the top and has no ending, or `.exe`."""
    licence = file.name.startswith("LICENSE")
    program = file.parent == folder and file.suffix in ("", ".exe") and not licence
    return 0o755 if program else 0o644


def pack_tar(folder: Path, files: list[Path], archive: Path, seconds: int) -> None:
    with archive.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for file in files:
                entry = tarfile.TarInfo(str(file.relative_to(folder.parent).as_posix()))
                entry.size, entry.mtime, entry.mode = file.stat().st_size, seconds, mode(file, folder)
                with file.open("rb") as content:
                    tar.addfile(entry, content)


def pack_zip(folder: Path, files: list[Path], archive: Path, seconds: int) -> None:
    date = time.gmtime(max(seconds, EARLIEST))[:6]
    with zipfile.ZipFile(archive, "w") as packed:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(folder.parent).as_posix(), date)
            entry.create_system, entry.external_attr = 3, (0o100000 | mode(file, folder)) << 16
            packed.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def main() -> None:
    folder, archive, seconds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    pack = pack_zip if archive.suffix == ".zip" else pack_tar
    pack(folder, files, archive, seconds)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with Path(f"{archive}.sha256").open("w", encoding="utf-8", newline="\n") as checksum:
        checksum.write(f"{digest}  {archive.name}\n")
    print(f"{archive.name}: {archive.stat().st_size / 2**20:.1f} MiB, {digest}")


if __name__ == "__main__":
    main()
