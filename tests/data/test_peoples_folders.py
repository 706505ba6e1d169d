"""Folders as people have them: nothing is passed over in silence, and labels are those that the folders mean."""

import errno
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from source_formats import encode, image_folder, noise

from degas_ray.data import Pack, prepare, walk
from degas_ray.errors import DataError, DegasWarning

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def pack_of(tmp_path: Path, **options: object) -> Pack:
    return prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home", resolution=8, **options)  # type: ignore[arg-type]


def left(pack: Pack) -> dict[str, int]:
    return {reason: entry["count"] for reason, entry in pack.meta["left_out"].items()}


def counts(pack: Pack) -> dict[str, int]:
    assert pack.labels is not None
    return dict(zip(pack.classes, np.bincount(pack.labels, minlength=len(pack.classes)).tolist(), strict=True))


def place(file: Path, content: bytes | None = None, seed: int = 0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(noise(1, 8, 8, seed=seed)[0]) if content is None else content)
    return file


class TestWhatIsAnImage:
    @pytest.mark.parametrize("name", ["0001", "a.PNG_", "b.jpg_large", "c.heic", "d.npy", "e.svg", "f.", "g.JPEG"])
    def test_content_decides_where_the_suffix_says_nothing(self, tmp_path: Path, name: str) -> None:
        place(tmp_path / "d" / name)
        assert len(pack_of(tmp_path)) == 1

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"])
    def test_every_kind_is_known_by_its_first_bytes(self, tmp_path: Path, kind: str) -> None:
        place(tmp_path / "d/file", encode(noise(1, 8, 8)[0], kind))
        assert len(pack_of(tmp_path)) == 1

    def test_files_that_are_no_images_are_counted(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(3, 8, 8), ["a", "b"])
        for name in ("readme.txt", "labels.json", "a/model.bin", "b/film.webm"):
            place(tmp_path / "d" / name, b"something else")
        pack = pack_of(tmp_path)
        assert left(pack) == {"files that are no images": 4}
        assert pack.meta["left_out"]["files that are no images"]["names"][0] == "a/model.bin"

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("IMG_1.HEIC", HEIC, "HEIC images need a decoder: pip install pillow-heif"),
            ("IMG_1.png", HEIC, "HEIC images need a decoder"),
            ("a.jxl", b"\xff\x0a" + bytes(20), "JPEG XL images are not read; save it as PNG"),
            ("a.exr", b"\x76\x2f\x31\x01" + bytes(20), "OpenEXR images are not read"),
            ("a.svg", b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG images are not read"),
            ("a.NEF", encode(noise(1, 8, 8)[0], "TIFF"), "camera raw files are not read"),
        ],
    )
    def test_images_without_a_decoder_are_named_or_refused(
        self, tmp_path: Path, name: str, content: bytes, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("degas_ray.data.kinds._has_heif", lambda: False)
        image_folder(tmp_path / "d", noise(40, 8, 8), ["a", "b"])
        place(tmp_path / "d/a" / name, content)
        with pytest.warns(DegasWarning, match=f"1 of 41 images .*skipped:\n  a/{name}: {words}"):
            pack = pack_of(tmp_path)
        assert (len(pack), left(pack)) == (40, {"unreadable images": 1})
        for number in range(5):
            place(tmp_path / f"d/b/{number}{name}", content)
        with pytest.raises(DataError, match=rf"6 of 4\d images .* at most 5 % may be(.|\n)*{words}"):
            pack_of(tmp_path)

    def test_a_class_without_a_readable_image_is_named(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(60, 8, 8), ["a", "b"])
        place(tmp_path / "d/c/1.jxl", b"\xff\x0a" + bytes(20))
        with pytest.warns(DegasWarning, match="left out 1 class folder without an image:\n  c"):
            pack = pack_of(tmp_path)
        assert pack.classes == ("a", "b")


class TestSideFiles:
    SIDE = (
        ".DS_Store", "a/._0.png", "a/.hidden.png", "Thumbs.db", "a/desktop.ini", "_SUCCESS", "a/@eaDir/0.png/thumb.jpg",
        "__MACOSX/a/._0.png", "#recycle/old.png", ".git/objects/x.png", "lost+found/1.png", "Icon\r",
    )  # fmt: skip

    def test_none_is_taken_and_all_are_counted(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(6, 8, 8), ["a", "b"])
        for name in self.SIDE:
            place(tmp_path / "d" / name)
        pack = pack_of(tmp_path)
        assert counts(pack) == {"a": 3, "b": 3}
        assert left(pack) == {"hidden files and side files": len(self.SIDE)}

    def test_a_data_set_below_a_hidden_folder_is_read(self, tmp_path: Path) -> None:
        image_folder(tmp_path / ".cache/d", noise(4, 8, 8), ["a", "b"])
        assert len(prepare(f"folder:{tmp_path / '.cache/d'}", tmp_path / "home")) == 4


class TestLinks:
    def test_links_to_files_and_folders_are_followed(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "store", noise(6, 8, 8), ["cat", "dog"])
        (tmp_path / "d/eel").mkdir(parents=True)
        (tmp_path / "d/cat").symlink_to("../store/cat")
        for name in os.listdir(tmp_path / "store/dog"):
            (tmp_path / "d/eel" / name).symlink_to(tmp_path / "store/dog" / name)
        pack = pack_of(tmp_path)
        assert (counts(pack), left(pack)) == ({"cat": 3, "eel": 3}, {})

    def test_links_into_a_hidden_store_take_each_image_once(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d/.store", noise(6, 8, 8), ["cat", "dog"])
        for name in ("cat", "dog"):
            (tmp_path / "d" / name).symlink_to(f".store/{name}")
        pack = pack_of(tmp_path)
        assert (counts(pack), left(pack)) == ({"cat": 3, "dog": 3}, {})

    def test_loops_and_dead_links_are_named(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(6, 8, 8), ["a", "b"])
        (tmp_path / "d/a/self.png").symlink_to("self.png")
        (tmp_path / "d/a/nowhere.png").symlink_to("gone.png")
        (tmp_path / "d/a/up").symlink_to("..")
        (tmp_path / "d/b/out").symlink_to(tmp_path)
        (tmp_path / "d/b/again.png").symlink_to("../a/0000.png")
        with pytest.warns(DegasWarning) as caught:
            pack = pack_of(tmp_path)
        assert left(pack) == {
            "links that lead nowhere": 2,
            "links to folders that are read already": 2,
            "links to files that are read already": 1,
        }
        assert "a/self.png" in str(caught[0].message)
        assert len(pack) == 6

    def test_a_folder_reached_twice_is_read_once(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(6, 8, 8), ["v1", "v2"])
        (tmp_path / "d/latest").symlink_to("v2")
        with pytest.warns(DegasWarning, match="1 link to a folder that is read already:\n  latest"):
            assert counts(pack_of(tmp_path)) == {"v1": 3, "v2": 3}

    @pytest.mark.timeout(20)
    def test_pipes_are_never_opened(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(6, 8, 8), ["a", "b"])
        os.mkfifo(tmp_path / "d/a/pipe.png")
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "d/a/link").symlink_to(tmp_path / "pipe")
        with pytest.warns(DegasWarning, match="left out 2 not regular files"):
            assert len(pack_of(tmp_path)) == 6

    def test_a_folder_that_cannot_be_read_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        image_folder(tmp_path / "d", noise(6, 8, 8), ["a", "b"])
        scandir = os.scandir

        def refuse(path: Path) -> object:
            if Path(path).name == "b":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(walk.os, "scandir", refuse)
        with pytest.raises(DataError, match=r"the folder b cannot be read \(Permission denied\), so its images"):
            pack_of(tmp_path)
        assert not (tmp_path / "home").exists()


class TestClasses:
    @pytest.mark.parametrize("names", [("train", "test"), ("training", "valid", "testing"), ("seg_train", "seg_test"),
                                       ("train2017", "val2017"), ("Train", "Dev")])  # fmt: skip
    def test_the_training_split_is_taken_and_said(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        for number, name in enumerate(names, start=2):
            image_folder(tmp_path / "d" / name, noise(number * 2, 8, 8), ["cat", "dog"])
        with pytest.warns(DegasWarning, match="has the splits .*: train is taken; --split names another, or all"):
            pack = pack_of(tmp_path)
        assert counts(pack) == {"cat": 2, "dog": 2}
        assert left(pack) == {"images of other splits": sum(range(3, 2 + len(names))) * 2}

    @pytest.mark.parametrize(
        ("split", "count"), [("train", 4), ("val", 6), ("validation", 6), ("test", 8), ("all", 18)]
    )
    def test_a_split_is_chosen_by_name(self, tmp_path: Path, split: str, count: int) -> None:
        for number, name in enumerate(("train", "val", "test"), start=2):
            image_folder(tmp_path / "d" / name, noise(number * 2, 8, 8), ["cat", "dog"])
        pack = pack_of(tmp_path, split=split)
        assert counts(pack) == {"cat": count // 2, "dog": count // 2}
        assert pack.meta["split"] == split

    def test_splits_below_the_classes_are_recognised(self, tmp_path: Path) -> None:
        for name in ("cat", "dog"):
            image_folder(tmp_path / "d" / name, noise(6, 8, 8), ["train", "train", "test"])
        with pytest.warns(DegasWarning, match="train is taken"):
            assert counts(pack_of(tmp_path)) == {"cat": 4, "dog": 4}

    def test_a_missing_split_is_refused_with_those_there_are(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d/val", noise(4, 8, 8), ["cat", "dog"])
        image_folder(tmp_path / "d/test", noise(4, 8, 8), ["cat", "dog"])
        with pytest.raises(DataError, match="no training split; expected one of test, validation: add --split test"):
            pack_of(tmp_path)
        with pytest.raises(DataError, match="has no split 'extra'; expected one of test, validation"):
            pack_of(tmp_path, split="extra")
        image_folder(tmp_path / "e", noise(4, 8, 8), ["cat", "dog"])
        with pytest.raises(DataError, match="got --split test, but there are no splits in it"):
            prepare(f"folder:{tmp_path / 'e'}", tmp_path / "home", split="test")
        with pytest.raises(DataError, match="digits has no splits"):
            prepare("digits", tmp_path / "home", split="test")

    @pytest.mark.parametrize("names", [("train", "plane"), ("train_station", "test_tube"), ("train", "bus", "car")])
    def test_classes_that_sound_like_splits_stay_classes(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        image_folder(tmp_path / "d", noise(2 * len(names), 8, 8), list(names))
        assert counts(pack_of(tmp_path)) == dict.fromkeys(sorted(names), 2)

    def test_folders_around_everything_are_taken_off(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d/archive/mydata", noise(4, 8, 8), ["cat", "dog"])
        place(tmp_path / "d/readme.txt", b"text")
        pack = pack_of(tmp_path)
        assert counts(pack) == {"cat": 2, "dog": 2}
        assert pack.meta["notes"] == ["archive/mydata is a folder around all images, and no class"]

    def test_a_split_inside_a_wrapping_folder(self, tmp_path: Path) -> None:
        for name in ("train", "test"):
            image_folder(tmp_path / "d/images" / name / "all", noise(4, 8, 8), ["cat", "dog"])
        with pytest.warns(DegasWarning, match="train is taken"):
            assert counts(pack_of(tmp_path)) == {"cat": 2, "dog": 2}

    def test_forms_of_unicode_are_one_class(self, tmp_path: Path) -> None:
        forms = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
        image_folder(tmp_path / "d", noise(6, 8, 8), [*forms, "z"])
        assert counts(pack_of(tmp_path)) == {forms[0]: 4, "z": 2}

    def test_a_limit_keeps_shares_and_is_the_same_draw_every_time(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(40, 8, 8), ["a"] * 6 + ["b"] * 3 + ["c"])
        first = pack_of(tmp_path, limit=20)
        assert counts(first) == {"a": 12, "b": 6, "c": 2}
        again = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "other", resolution=8, limit=20)
        np.testing.assert_array_equal(first.images, again.images)
        everything = pack_of(tmp_path).images
        taken = [int(np.flatnonzero((everything == image).all(axis=(1, 2, 3)))[0]) for image in first.images]
        assert taken == sorted(set(taken))
        assert taken[:12] != list(range(12))  # a draw, not the first ones


def test_a_file_replaced_by_one_of_equal_size_and_date_makes_a_new_pack(tmp_path: Path) -> None:
    first, second = (encode(np.full((8, 8, 3), value, np.uint8), "BMP") for value in (10, 200))
    file = place(tmp_path / "d/a.bmp", first)
    before = pack_of(tmp_path)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    place(tmp_path / "d/new", second).replace(file)
    os.utime(file, ns=times)
    after = pack_of(tmp_path)
    assert (before.images[0, 0, 0, 0], after.images[0, 0, 0, 0]) == (10, 200)
