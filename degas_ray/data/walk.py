"""The files below a folder, in a fixed order: links followed once, nothing opened that is no regular file."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from degas_ray.data.intake import DANGLING, LOOP, SIDE, SPECIAL, TWICE, Intake
from degas_ray.errors import DataError

# What systems and tools put beside people's files.
SIDE_FILES = frozenset({"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "_success"})
SIDE_FOLDERS = frozenset({
    "@eadir", "#recycle", "#snapshot", "@recently-snapshot", "__macosx", "$recycle.bin", "system volume information",
    "lost+found",
})  # fmt: skip
_Identity = tuple[int, int]  # device and inode


def is_side(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or put there by a system or a tool."""
    return name.startswith(".") or name.lower() in SIDE_FILES | SIDE_FOLDERS


def printable(name: str) -> str:
    """Return a file's name with undecodable bytes replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


@dataclass
class _Walk:
    root: Path
    intake: Intake
    side: Callable[[str], bool]
    files: list[str] = field(default_factory=list)
    folders: set[_Identity] = field(default_factory=set)
    inodes: set[_Identity] = field(default_factory=set)
    side_folders: list[str] = field(default_factory=list)
    folder_links: list[str] = field(default_factory=list)
    file_links: list[tuple[str, _Identity]] = field(default_factory=list)

    def enter(self, below: str) -> None:
        """Read a folder and the real folders below it; links are kept for later."""
        waiting = [below]
        while waiting:
            folder = waiting.pop()
            try:
                status = os.stat(self.root / folder)
                identity = (status.st_dev, status.st_ino)
                if identity in self.folders:
                    self.intake.leave(LOOP, printable(folder))
                    continue
                self.folders.add(identity)
                with os.scandir(self.root / folder) as entries:
                    waiting += [path for entry in entries if (path := self._take(entry, folder, status.st_dev))]
            except OSError as error:
                where = printable(folder) or str(self.root)
                raise DataError(
                    f"{self.intake.source}: the folder {where} cannot be read ({error.strerror}), so its images would "
                    "be missing; allow it to be read, or move it out"
                ) from None

    def _take(self, entry: "os.DirEntry[str]", folder: str, device: int) -> str | None:
        """Note one entry; return its path if it is a real folder to enter."""
        path = os.path.join(folder, entry.name)
        link = entry.is_symlink()
        real_folder = entry.is_dir(follow_symlinks=False)
        if self.side(entry.name):
            if real_folder:
                self.side_folders.append(path)
            else:
                self.intake.leave(SIDE, printable(path))
        elif real_folder:
            return path
        elif link:
            self._link(path)
        elif entry.is_file(follow_symlinks=False):
            self.files.append(path)
            self.inodes.add((device, entry.inode()))
        else:
            self.intake.leave(SPECIAL, printable(path))
        return None

    def _link(self, path: str) -> None:
        try:
            status = os.stat(self.root / path)
        except OSError:  # the target is missing, or the link leads to itself
            self.intake.leave(DANGLING, printable(path))
            return
        if stat.S_ISDIR(status.st_mode):
            self.folder_links.append(path)
        elif stat.S_ISREG(status.st_mode):
            self.file_links.append((path, (status.st_dev, status.st_ino)))
        else:
            self.intake.leave(SPECIAL, printable(path))

    def follow(self) -> None:
        """Follow the links, each target once: real folders come first, then links in the order of their paths."""
        resolved = self.root.resolve()
        while self.folder_links:
            self.folder_links.sort()
            path = self.folder_links.pop(0)
            if resolved.is_relative_to((self.root / path).resolve()):  # it leads back up
                self.intake.leave(LOOP, printable(path))
            else:
                self.enter(path)
        for path, identity in sorted(self.file_links):
            if identity in self.inodes:
                self.intake.leave(TWICE, printable(path))
            else:
                self.inodes.add(identity)
                self.files.append(path)

    def leave_side_folders(self) -> None:
        """Note every file of the side folders, but those that a link has brought in."""
        for folder in self.side_folders:
            for place, _, names in os.walk(self.root / folder):
                for name in names:
                    status = os.lstat(os.path.join(place, name))
                    if (status.st_dev, status.st_ino) not in self.inodes:
                        self.intake.leave(SIDE, printable(os.path.relpath(os.path.join(place, name), self.root)))


def walk(root: Path, intake: Intake, side: Callable[[str], bool] = is_side) -> list[str]:
    """Return the regular files below a folder by their paths there, in the order of the paths' parts.

    Links are followed, also out of the folder, but no folder and no file is taken twice: what was reached before, a
    link to nowhere, a pipe or a device, and side files are noted as left out. Nothing is opened.

    Args:
        root: The folder.
        intake: Takes what is left out.
        side: Whether a name is that of a side file or side folder.

    Raises:
        DataError: A folder cannot be read.
    """
    state = _Walk(root, intake, side)
    state.enter("")
    state.follow()
    state.leave_side_folders()
    return sorted(state.files, key=lambda path: path.split(os.sep))
