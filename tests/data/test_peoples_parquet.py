"""Parquet as people have it: splits, shards that disagree, labels in many types, files behind paths."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_formats import encode, hub_parquet, noise

from degas_ray.data import Pack, prepare
from degas_ray.errors import DataError, DegasWarning


def pack_of(tmp_path: Path, **options: object) -> Pack:
    return prepare(f"parquet:{tmp_path / 'd'}", tmp_path / "home", resolution=8, **options)  # type: ignore[arg-type]


def counts(pack: Pack) -> dict[str, int]:
    assert pack.labels is not None
    return dict(zip(pack.classes, np.bincount(pack.labels, minlength=len(pack.classes)).tolist(), strict=True))


def table(file: Path, count: int = 4, seed: int = 0, **columns: object) -> Path:
    """Write images as plain bytes beside other columns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    cells = [encode(picture) for picture in noise(count, 8, 8, seed=seed)]
    pq.write_table(pa.table({"image": cells, **columns}), file)
    return file


class TestSplits:
    @pytest.mark.parametrize(
        "pattern",
        ["data/{}-00000-of-00001.parquet", "{}.parquet", "default/{}/0000.parquet", "split={}/part-0.parquet",
         "cats_{}.PARQUET"],
    )  # fmt: skip
    def test_the_training_split_is_taken_and_said(self, tmp_path: Path, pattern: str) -> None:
        for number, split in enumerate(("train", "validation", "test"), start=2):
            hub_parquet(tmp_path / "d" / pattern.format(split), noise(2 * number, 8, 8), [0, 1] * number, ["a", "b"])
        with pytest.warns(DegasWarning, match="has the splits test, train, validation: train is taken"):
            pack = pack_of(tmp_path)
        assert counts(pack) == {"a": 2, "b": 2}
        assert pack.meta["left_out"]["images of other splits"]["count"] == 14
        assert counts(pack_of(tmp_path, split="test")) == {"a": 4, "b": 4}
        assert counts(pack_of(tmp_path, split="all")) == {"a": 9, "b": 9}

    def test_a_hubs_own_splits_need_a_choice(self, tmp_path: Path) -> None:
        for name in ("balanced", "unsupervised"):
            hub_parquet(tmp_path / f"d/{name}-00000-of-00001.parquet", noise(4, 8, 8), [0, 1] * 2, ["a", "b"])
        with pytest.raises(DataError, match="no training split; expected one of balanced, unsupervised"):
            pack_of(tmp_path)
        assert len(pack_of(tmp_path, split="balanced")) == 4

    def test_plain_parts_are_one_set(self, tmp_path: Path) -> None:
        for number in range(3):
            table(tmp_path / f"d/part-{number}.snappy.parquet")
        assert len(pack_of(tmp_path)) == 12
        with pytest.raises(DataError, match="there are no splits in it"):
            pack_of(tmp_path, split="test")


class TestSideFiles:
    def test_hidden_and_side_files_are_counted_and_not_read(self, tmp_path: Path) -> None:
        table(tmp_path / "d/a.parquet")
        for name in ("._a.parquet", ".a.parquet.tmp.parquet", "_temporary/0/b.parquet", "_SUCCESS", "_metadata",
                     "__MACOSX/._a.parquet"):  # fmt: skip
            (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "d" / name).write_bytes(b"\0\5\x16\7")
        (tmp_path / "d/README.md").write_text("text")
        pack = pack_of(tmp_path)
        assert len(pack) == 4
        assert {reason: entry["count"] for reason, entry in pack.meta["left_out"].items()} == {
            "hidden files and side files": 6,
            "files that are no Parquet": 1,
        }

    @pytest.mark.timeout(20)
    def test_pipes_are_never_opened(self, tmp_path: Path) -> None:
        table(tmp_path / "d/a.parquet")
        os.mkfifo(tmp_path / "d/b.parquet")
        with pytest.warns(DegasWarning, match="1 file that is not regular:\n  b.parquet"):
            assert len(pack_of(tmp_path)) == 4
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DataError, match="is not a regular file"):
            prepare(f"parquet:{tmp_path / 'pipe'}", tmp_path / "home")
        os.mkfifo(tmp_path / "d/image.png")
        cells = [{"bytes": None, "path": "image.png"}] + [{"bytes": encode(noise(1, 8, 8)[0]), "path": None}] * 40
        pq.write_table(pa.table({"image": cells}), tmp_path / "d/a.parquet")
        with pytest.warns(DegasWarning, match=r"image\.png is not a regular file"):
            assert len(prepare(f"parquet:{tmp_path / 'd/a.parquet'}", tmp_path / "home")) == 40


class TestShards:
    def test_names_are_merged_by_name(self, tmp_path: Path) -> None:
        pictures = noise(6, 8, 8)
        hub_parquet(tmp_path / "d/a.parquet", pictures[:3], [0, 1, 0], ["cat", "dog"])
        hub_parquet(tmp_path / "d/b.parquet", pictures[3:], [0, 1, 2], ["dog", "eel", "cat"])
        pack = pack_of(tmp_path)
        assert pack.labels is not None
        assert [pack.classes[label] for label in pack.labels] == ["cat", "dog", "cat", "dog", "eel", "cat"]

    def test_names_and_text_go_together(self, tmp_path: Path) -> None:
        hub_parquet(tmp_path / "d/a.parquet", noise(2, 8, 8), [0, 1], ["cat", "dog"])
        table(tmp_path / "d/b.parquet", label=["dog", "cat", "ape", "cat"])
        assert counts(pack_of(tmp_path)) == {"cat": 3, "dog": 2, "ape": 1}

    @pytest.mark.parametrize(
        ("second", "words"),
        [
            ({}, r"b\.parquet has no label column, a\.parquet has one"),
            ({"label": [0, 1, 0, 1]}, r"labels of a\.parquet are names, those of b\.parquet are numbers"),
            ({"label": [True] * 4}, "are names, .* truth values"),
        ],
    )
    def test_shards_that_disagree_are_refused_by_name(
        self, tmp_path: Path, second: dict[str, object], words: str
    ) -> None:
        hub_parquet(tmp_path / "d/a.parquet", noise(2, 8, 8), [0, 1], ["cat", "dog"])
        table(tmp_path / "d/b.parquet", **second)
        with pytest.raises(DataError, match=words):
            pack_of(tmp_path)

    def test_numbers_beyond_the_names_are_refused(self, tmp_path: Path) -> None:
        hub_parquet(tmp_path / "d/a.parquet", noise(2, 8, 8), [0, 2], ["cat", "dog"])
        with pytest.raises(DataError, match=r"label of a\.parquet holds 2, but has 2 names"):
            pack_of(tmp_path)


class TestLabels:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([1.0, 0.0, 1.0, 3.0], {"0": 1, "1": 2, "3": 1}),
            (pa.array(["b", "a", "b", "b"]).dictionary_encode(), {"a": 1, "b": 3}),
            (pa.array([[1], [2], [1], [1]]), {"1": 3, "2": 1}),
            (pa.array([1, 2, 2, 2], pa.uint8()), {"1": 1, "2": 3}),
            (["\u00e9", "e\u0301", "f", "f"], {"f": 2, "\u00e9": 2}),
        ],
    )
    @pytest.mark.parametrize("column", ["label", "labels", "Label"])
    def test_values_as_people_write_them(
        self, tmp_path: Path, values: object, expected: dict[str, int], column: str
    ) -> None:
        table(tmp_path / "d/a.parquet", **{column: values})
        assert counts(pack_of(tmp_path)) == expected

    @pytest.mark.parametrize("values", [[None] * 4, [1.0, None, 0.0, float("nan")], [[1], [], [1], [1]]])
    def test_missing_labels_leave_none_and_say_so(self, tmp_path: Path, values: list[object]) -> None:
        table(tmp_path / "d/a.parquet", label=pa.array(values))
        with pytest.warns(DegasWarning, match="some rows have no label"):
            assert pack_of(tmp_path).labels is None

    def test_several_labels_a_row_are_refused(self, tmp_path: Path) -> None:
        table(tmp_path / "d/a.parquet", label=[[0, 1], [0], [1], [1]])
        with pytest.raises(DataError, match="lists of several values; expected one label a row"):
            pack_of(tmp_path)

    def test_columns_that_sound_like_labels_are_named(self, tmp_path: Path) -> None:
        table(tmp_path / "d/a.parquet", fine_label=[0, 1, 2, 3], coarse_label=[0, 0, 1, 1], size=[1] * 4)
        with pytest.warns(DegasWarning, match="rename one of the columns fine_label, coarse_label to label to use it"):
            assert pack_of(tmp_path).labels is None

    def test_labels_in_the_names_of_folders(self, tmp_path: Path) -> None:
        table(tmp_path / "d/label=dog/part-0.parquet", 3)
        table(tmp_path / "d/label=cat%20and%20kitten/part-0.parquet", 5)
        assert counts(pack_of(tmp_path)) == {"cat and kitten": 5, "dog": 3}

    def test_a_limit_keeps_shares_of_sorted_rows(self, tmp_path: Path) -> None:
        hub_parquet(tmp_path / "d/a.parquet", noise(60, 8, 8), sorted([0, 1, 2] * 20), ["a", "b", "c"])
        assert counts(pack_of(tmp_path, limit=21)) == {"a": 7, "b": 7, "c": 7}


class TestImageColumns:
    @pytest.mark.parametrize("kind", ["binary", "large_binary", "dictionary", "list", "fixed", "upper"])
    def test_bytes_as_people_write_them(self, tmp_path: Path, kind: str) -> None:
        pictures = noise(4, 8, 8)
        cells = [encode(picture, "BMP") for picture in pictures]
        column = {
            "binary": lambda: pa.array(cells),
            "large_binary": lambda: pa.array(cells, pa.large_binary()),
            "dictionary": lambda: pa.array(cells).dictionary_encode(),
            "list": lambda: pa.array([list(cell) for cell in cells], pa.list_(pa.uint8())),
            "fixed": lambda: pa.array(cells, pa.binary(len(cells[0]))),
            "upper": lambda: pa.array(cells),
        }[kind]()
        (tmp_path / "d").mkdir()
        pq.write_table(pa.table({"Image" if kind == "upper" else "image": column}), tmp_path / "d/a.parquet")
        np.testing.assert_array_equal(pack_of(tmp_path).images, pictures)


class TestBehindPaths:
    @pytest.mark.parametrize("mixed", [False, True])
    def test_a_pack_is_of_the_images_behind_its_paths(self, tmp_path: Path, mixed: bool) -> None:
        (tmp_path / "d/img").mkdir(parents=True)
        cells = [{"bytes": None, "path": f"img/{index}.png"} for index in range(4)]
        cells += [{"bytes": encode(noise(1, 8, 8)[0]), "path": "elsewhere.png"}] * mixed
        pq.write_table(pa.table({"image": cells}), tmp_path / "d/a.parquet")

        def draw(value: int) -> None:
            for index in range(4):
                (tmp_path / f"d/img/{index}.png").write_bytes(encode(np.full((8, 8, 3), value, np.uint8)))

        draw(10)
        before = pack_of(tmp_path)
        draw(200)
        after = pack_of(tmp_path)
        assert (before.images[0, 0, 0, 0], after.images[0, 0, 0, 0]) == (10, 200)
        assert before.fingerprint != after.fingerprint
        assert after.meta["left_out"] == {}

    def test_rows_with_bytes_of_their_own_need_no_look_at_paths(self, tmp_path: Path) -> None:
        hub_parquet(tmp_path / "d/a.parquet", noise(4, 8, 8), [0, 1] * 2, ["a", "b"])
        first = pack_of(tmp_path)
        (tmp_path / "d/0.png").write_bytes(encode(noise(1, 8, 8, seed=9)[0]))
        again = pack_of(tmp_path)
        np.testing.assert_array_equal(first.images, again.images)
        assert json.dumps(again.meta["left_out"]) == json.dumps(
            {"files that are no Parquet": {"count": 1, "names": ["0.png"]}}
        )
