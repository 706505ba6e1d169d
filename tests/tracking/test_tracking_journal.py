"""Records on disk: order, torn lines, full disks, owners that died."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from degas_ray.tracking import record

HEADER = {"op": "open", "key": "study/a/trial/1", "name": "trial 1", "time": 1}


def test_records_come_back_in_order_and_once(tmp_path: Path) -> None:
    book = record.create_journal(tmp_path, HEADER)
    for step in range(5):
        book.append({"op": "metrics", "step": step})
    pending = book.pending(3)
    assert [record for _, record in pending] == [HEADER, {"op": "metrics", "step": 0}, {"op": "metrics", "step": 1}]
    book.commit(pending[-1][0])
    assert [record["step"] for _, record in book.pending(100)] == [2, 3, 4]


def test_an_owner_that_lives_is_not_robbed(tmp_path: Path) -> None:
    book = record.create_journal(tmp_path, HEADER)
    assert record.claim_journal(book.folder) is None
    book.append({"op": "start"})
    book.close(remove=False)
    claimed = record.claim_journal(book.folder)
    assert claimed is not None
    assert claimed.header == HEADER
    assert [record["op"] for _, record in claimed.pending(10)] == ["open", "start"]
    claimed.close(remove=True)
    assert record.claim_journal(book.folder) is None
    assert list(tmp_path.iterdir()) == [tmp_path / "lock"]


def test_openings_are_numbered_and_listed_oldest_first(tmp_path: Path) -> None:
    books = [record.create_journal(tmp_path, HEADER) for _ in range(11)]
    other = record.create_journal(tmp_path, HEADER | {"key": "other"})
    assert [path.name for path in record.journal_folders(tmp_path, HEADER["key"])] == [f"{i:06d}" for i in range(1, 12)]
    assert set(record.journal_folders(tmp_path)) == {book.folder for book in [*books, other]}


def test_a_killed_writer_leaves_whole_records(tmp_path: Path) -> None:
    """A process writes for ever and is killed; what is left is a prefix of what it wrote, without a torn line."""
    code = (
        "import sys; from pathlib import Path; from degas_ray.tracking import record\n"
        "book = record.create_journal(Path(sys.argv[1]), {'op': 'open', 'key': 'k', 'name': 'n', 'time': 1})\n"
        "step = 0\n"
        "while True:\n"
        "    book.append({'op': 'metrics', 'step': step, 'text': 'x' * 5000}); step += 1\n"
        "    print(step, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(20):
            said = int(process.stdout.readline())
        process.kill()
        said = max([said, *(int(line) for line in process.stdout.read().splitlines() if line)])
    (folder,) = record.journal_folders(tmp_path)
    book = record.claim_journal(folder)
    assert book is not None
    steps = [record["step"] for _, record in book.pending(100_000) if record["op"] == "metrics"]
    assert steps == list(range(len(steps)))
    assert len(steps) >= said


def test_a_torn_line_and_a_missing_header(tmp_path: Path) -> None:
    book = record.create_journal(tmp_path, HEADER)
    book.close(remove=False)
    with (book.folder / "records.jsonl").open("a") as file:
        file.write('{"op": "metr')
    claimed = record.claim_journal(book.folder)
    assert claimed is not None
    claimed.append({"op": "start"})
    lines = (book.folder / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["op"] for line in lines] == ["open", "start"]
    claimed.close(remove=False)
    (book.folder / "records.jsonl").write_text("")
    empty = record.claim_journal(book.folder)
    assert empty is not None
    assert empty.header == {}


def test_a_full_disk_keeps_the_record_until_there_is_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = record.create_journal(tmp_path, HEADER)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            book.append({"op": "metrics", "step": 1})
    assert [record["op"] for _, record in book.pending(10)] == ["open"]
    book.append({"op": "metrics", "step": 2})
    assert [record.get("step") for _, record in book.pending(10)] == [None, 1, 2]


def test_a_lock_that_is_held_too_long_is_an_error(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with record.locked(lock, 0.0), pytest.raises(TimeoutError, match="another process"), record.locked(lock, 0.05):
        pass
    with record.locked(lock, 0.0):
        pass
