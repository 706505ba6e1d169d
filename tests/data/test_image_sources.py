"""Folders, CelebA and Parquet: any mode and size, unreadable files, names that try to leave."""

import io
import json
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from source_formats import celeba, encode, hub_parquet, image_folder, noise, smooth

from degas_ray.data import parquet, prepare
from degas_ray.data.images import UnreadableError, decode, resize
from degas_ray.errors import DataError, DegasWarning


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


RAMP = np.tile(np.linspace(0, 255, 32).round().astype(np.uint8), (32, 1))  # grey, dark left to bright right
COLOUR = Image.fromarray(np.stack([RAMP, RAMP.T, 255 - RAMP], axis=2))


def close(ours: np.ndarray, theirs: np.ndarray, levels: int) -> None:
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= levels


class TestModes:
    def test_rgb_of_the_right_size_is_unchanged(self) -> None:
        np.testing.assert_array_equal(decode(saved(COLOUR), 32), np.asarray(COLOUR))

    def test_grey_and_bilevel_are_repeated(self) -> None:
        np.testing.assert_array_equal(decode(saved(Image.fromarray(RAMP)), 32), np.stack([RAMP] * 3, axis=2))
        assert set(np.unique(decode(saved(Image.fromarray(RAMP > 100)), 32))) == {0, 255}

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_16_bit_grey_keeps_its_full_range(self, kind: str) -> None:
        wide = Image.fromarray(RAMP.astype(np.uint16) * 257)
        np.testing.assert_array_equal(decode(saved(wide, kind), 32)[..., 0], RAMP)

    def test_32_bit_grey_within_16_bits_is_read(self) -> None:
        np.testing.assert_array_equal(
            decode(saved(Image.fromarray(RAMP.astype(np.int32) * 257), "TIFF"), 32)[..., 0], RAMP
        )

    def test_transparency_is_laid_on_white(self) -> None:
        image = COLOUR.convert("RGBA")
        image.putalpha(Image.fromarray(np.where(np.arange(32) < 16, 0, 255).astype(np.uint8)[None].repeat(32, 0)))
        ours = decode(saved(image), 32)
        assert (ours[:, :16] == 255).all()
        np.testing.assert_array_equal(ours[:, 16:], np.asarray(COLOUR)[:, 16:])

    def test_grey_with_alpha_and_transparent_palette(self) -> None:
        layered = Image.merge("LA", [Image.fromarray(RAMP), Image.fromarray(np.zeros((32, 32), np.uint8))])
        assert (decode(saved(layered), 32) == 255).all()
        palette = Image.new("P", (32, 32), 3)
        palette.putpalette([0, 0, 0] * 3 + [10, 20, 30])
        assert (decode(saved(palette), 32) == [10, 20, 30]).all()
        assert (decode(saved(palette, transparency=3), 32) == 255).all()

    def test_palette_becomes_its_colours(self) -> None:
        close(decode(saved(COLOUR.quantize(256), "GIF"), 32), np.asarray(COLOUR), 40)

    @pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
    def test_cmyk_becomes_rgb(self, kind: str) -> None:
        options = {"quality": 100} if kind == "JPEG" else {}
        close(decode(saved(COLOUR.convert("CMYK"), kind, **options), 32), np.asarray(COLOUR), 8)

    def test_exif_orientation_is_applied(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: 90 degrees clockwise to show
        turned = COLOUR.transpose(Image.Transpose.ROTATE_90)
        np.testing.assert_array_equal(decode(saved(turned, exif=exif), 32), np.asarray(COLOUR))

    def test_floating_point_is_read_from_0_to_1(self) -> None:
        np.testing.assert_array_equal(
            decode(saved(Image.fromarray((RAMP / 255).astype(np.float32)), "TIFF"), 32)[..., 0], RAMP
        )
        for values in (RAMP.astype(np.float32), np.full((4, 4), -0.1, np.float32), np.full((4, 4), np.nan, np.float32)):
            with pytest.raises(UnreadableError, match=r"floating-point pixels outside 0\.\.1 have no known range"):
                decode(saved(Image.fromarray(values), "TIFF"), 32)

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_bombs_are_refused_before_they_are_unpacked(self) -> None:
        for side in (10_000, 60_000):
            bomb = bytearray(saved(Image.new("L", (8, 8))))
            bomb[16:24] = side.to_bytes(4, "big") * 2
            bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")  # IHDR's checksum
            with pytest.raises(UnreadableError, match="pixels"):
                decode(bytes(bomb), 32)


class TestGeometry:
    @pytest.mark.parametrize(("width", "height"), [(64, 32), (32, 64), (33, 100), (1, 1), (300, 7)])
    def test_largest_centred_square_is_taken(self, width: int, height: int) -> None:
        picture = noise(1, height, width)[0]
        side = min(width, height)
        top, left = (height - side) // 2, (width - side) // 2
        square = Image.fromarray(picture[top : top + side, left : left + side])
        expected = np.asarray(square.resize((32, 32), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(decode(encode(picture), 32), expected)

    def test_shrinking_is_antialiased(self) -> None:
        """A fine chessboard becomes an even grey, not a moiré of black and white."""
        board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
        inner = decode(saved(Image.fromarray(board)), 32)[2:-2, 2:-2].astype(int)
        assert np.abs(inner - 127.5).max() < 3

    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([8, 16, 32, 48]), st.sampled_from([1, 3]))
    def test_many_at_once_agree_with_one_by_one(self, height: int, width: int, resolution: int, channels: int) -> None:
        pictures = noise(2, height, width, channels)
        expected = [decode(saved(Image.fromarray(picture.squeeze(2) if channels == 1 else picture)), resolution)
                    for picture in pictures]  # fmt: skip
        close(resize(pictures, resolution), np.stack(expected), 2)


class TestFolder:
    def test_sub_directories_are_classes(self, tmp_path: Path) -> None:
        pictures = noise(6, 32, 32)
        image_folder(tmp_path / "d", pictures, ["b", "a"])
        pack = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")
        assert pack.classes == ("a", "b")
        assert pack.labels is not None
        assert pack.labels.tolist() == [0, 0, 0, 1, 1, 1]
        np.testing.assert_array_equal(pack.images, pictures[[1, 3, 5, 0, 2, 4]])

    def test_nested_folders_belong_to_the_outer_class(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d/cats", noise(4, 8, 8), ["indoor", "outdoor"])
        image_folder(tmp_path / "d", noise(2, 8, 8), ["dogs"])
        pack = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")
        assert pack.classes == ("cats", "dogs")

    def test_a_few_images_beside_the_classes_are_left_out(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(4, 8, 8), ["a", "b"])
        (tmp_path / "d/top.png").write_bytes(encode(noise(1, 8, 8)[0]))
        with pytest.warns(DegasWarning, match=r"left out 1 image beside the class folders:\n  top\.png"):
            pack = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")
        assert (len(pack), pack.classes) == (4, ("a", "b"))
        assert pack.meta["left_out"]["images beside the class folders"] == {"count": 1, "names": ["top.png"]}

    def test_many_images_beside_the_classes_leave_no_labels_and_say_so(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(4, 8, 8), ["a", "b"])
        for name in "xyz":
            (tmp_path / f"d/{name}.png").write_bytes(encode(noise(1, 8, 8)[0]))
        with pytest.warns(DegasWarning, match="3 images lie beside the 2 sub-folders, so the images have no labels"):
            pack = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")
        assert (len(pack), pack.labels, pack.classes) == (7, None, ())

    def test_other_and_hidden_files_are_passed_over(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(3, 8, 8), ["a"])
        for name in ("readme.txt", "a/labels.json", "a/.hidden.png", ".git/x.png"):
            (tmp_path / "d" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "d" / name).write_bytes(b"no image")
        assert len(prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")) == 3

    def test_a_limit_keeps_every_class(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(30, 8, 8), ["a", "b", "c"])
        pack = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home", limit=6)
        assert pack.labels is not None
        assert np.bincount(pack.labels).tolist() == [2, 2, 2]

    def test_few_unreadable_files_are_named_and_skipped(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(40, 8, 8), ["a"])
        (tmp_path / "d/a/0003.png").write_bytes(b"not a picture")
        good = (tmp_path / "d/a/0005.png").read_bytes()
        (tmp_path / "d/a/0005.png").write_bytes(good[: len(good) // 2])
        with pytest.warns(DegasWarning) as caught:
            pack = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")
        text = str(caught[0].message)
        assert "2 of 40 images" in text
        assert "a/0003.png: cannot identify image file" in text
        assert "a/0005.png: image file is truncated" in text
        assert len(pack) == 38
        left = pack.meta["left_out"]["unreadable images"]
        assert left["count"] == 2
        assert left["names"][0].startswith("a/0003.png")

    def test_many_unreadable_files_are_an_error(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(40, 8, 8), ["a"])
        for index in range(3):
            (tmp_path / f"d/a/{index:04d}.png").write_bytes(b"")
        with pytest.raises(DataError, match=r"(?s)3 of 40 images .* at most 5 % may be.*a/0002\.png"):
            prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")
        assert list((tmp_path / "home/packs").iterdir()) == []

    def test_long_lists_of_unreadable_files_are_shortened(self, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        for index in range(50):
            (tmp_path / f"d/{index}.jpg").write_bytes(b"")
        with pytest.raises(DataError, match="and 30 more"):
            prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")

    def test_undecodable_file_names_work(self, tmp_path: Path) -> None:
        odd = os.fsdecode(b"\xff\xfe")
        image_folder(tmp_path / "d", noise(4, 8, 8), [odd, "ä b\nc"])
        pack = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")
        assert len(pack) == 4
        "".join(pack.classes).encode("utf-8")

    def test_a_new_file_makes_a_new_pack(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "d", noise(4, 8, 8), ["a"])
        first = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")
        (tmp_path / "d/a/new.png").write_bytes(encode(noise(1, 8, 8)[0]))
        second = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")
        assert (len(first), len(second)) == (4, 5)

    @pytest.mark.parametrize("name", ["", "nope", "file.png", "a\0b"])
    def test_places_that_are_no_folder_are_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file.png").write_bytes(encode(noise(1, 8, 8)[0]))
        with pytest.raises(DataError, match="expected"):
            prepare(f"folder:{tmp_path / name}" if name else "folder:", tmp_path / "home")

    def test_data_dir_beside_a_path_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="leave out --data-dir"):
            prepare(f"folder:{tmp_path}", tmp_path / "home", data_dir=tmp_path)


class TestCelebA:
    @pytest.mark.parametrize("zipped", [False, True])
    @pytest.mark.parametrize("place", ["", "celeba"])
    def test_centre_crop(self, tmp_path: Path, zipped: bool, place: str) -> None:
        faces = smooth(6, 218, 178)
        celeba(tmp_path / "c" / place, faces, zipped=zipped)
        pack = prepare("celeba", tmp_path / "home", allow_incomplete=True, data_dir=tmp_path / "c")
        expected = resize(faces, 32)
        np.testing.assert_array_equal(resize(faces[:, 20:198], 32), expected)
        close(pack.images, expected, 6)

    def test_the_folder_itself_may_be_named(self, tmp_path: Path) -> None:
        celeba(tmp_path / "c", smooth(3, 218, 178))
        celeba(tmp_path / "z", smooth(3, 218, 178), zipped=True)
        for place in ("c/img_align_celeba", "z/img_align_celeba.zip"):
            assert len(prepare("celeba", tmp_path / "home", allow_incomplete=True, data_dir=tmp_path / place)) == 3

    def test_zip_members_are_read_in_memory_only(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "img_align_celeba.zip", "w") as archive:
            archive.writestr("../../escaped.jpg", encode(smooth(1, 218, 178)[0], "JPEG"))
        assert len(prepare("celeba", tmp_path / "home", allow_incomplete=True, data_dir=tmp_path)) == 1
        assert not list(tmp_path.parent.parent.rglob("escaped.jpg"))

    def test_damaged_zips_are_named(self, tmp_path: Path) -> None:
        celeba(tmp_path, smooth(4, 218, 178), zipped=True)
        path = tmp_path / "img_align_celeba.zip"
        whole = path.read_bytes()
        path.write_bytes(whole[:1000])
        with pytest.raises(DataError, match=r"img_align_celeba\.zip is not a whole zip archive"):
            prepare("celeba", tmp_path / "home", allow_incomplete=True, data_dir=tmp_path)
        path.write_bytes(whole[:200] + b"\0" * 50 + whole[250:])
        with pytest.raises(DataError, match="1 of 4 images of celeba cannot be read"):
            prepare("celeba", tmp_path / "home", allow_incomplete=True, data_dir=tmp_path)


class TestParquet:
    def test_hub_names_are_the_classes(self, tmp_path: Path) -> None:
        pictures = noise(10, 32, 32)
        hub_parquet(tmp_path / "d.parquet", pictures, [0, 2] * 5, ["ant", "bee", "cat"], rows=3)
        pack = prepare(f"parquet:{tmp_path / 'd.parquet'}", tmp_path / "home")
        assert pack.classes == ("ant", "bee", "cat")
        assert pack.labels is not None
        assert pack.labels.tolist() == [0, 2] * 5
        np.testing.assert_array_equal(pack.images, pictures)

    def test_files_of_a_folder_follow_each_other(self, tmp_path: Path) -> None:
        pictures = noise(9, 32, 32)
        for part in range(3):
            file = tmp_path / f"d/train-{part:05d}-of-00003.parquet"
            hub_parquet(file, pictures[part * 3 : part * 3 + 3], [0, 1, 0], ["a", "b"])
        np.testing.assert_array_equal(prepare(f"parquet:{tmp_path / 'd'}", tmp_path / "home").images, pictures)

    @pytest.mark.parametrize(
        ("labels", "classes", "expected"),
        [
            (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
            ([10, 7, 10], ("7", "10"), [1, 0, 1]),
            ([True, False, True], ("False", "True"), [1, 0, 1]),
            (pa.array(["b", "a", "b"]).dictionary_encode(), ("a", "b"), [1, 0, 1]),
        ],
    )
    def test_plain_values_are_classes(
        self, tmp_path: Path, labels: object, classes: tuple[str, ...], expected: list[int]
    ) -> None:
        cells = [encode(picture) for picture in noise(3, 8, 8)]
        pq.write_table(pa.table({"image": cells, "label": labels}), tmp_path / "d.parquet")
        pack = prepare(f"parquet:{tmp_path / 'd.parquet'}", tmp_path / "home")
        assert pack.labels is not None
        assert (pack.classes, pack.labels.tolist()) == (classes, expected)

    @pytest.mark.parametrize("labels", [[0, None, 1], [0, -1, 1]])
    def test_missing_labels_leave_none_and_say_so(self, tmp_path: Path, labels: list[int | None]) -> None:
        cells = [{"bytes": encode(picture), "path": None} for picture in noise(3, 8, 8)]
        pq.write_table(pa.table({"image": cells, "label": labels}), tmp_path / "d.parquet")
        with pytest.warns(DegasWarning, match="some rows have no label"):
            pack = prepare(f"parquet:{tmp_path / 'd.parquet'}", tmp_path / "home")
        assert pack.labels is None

    def test_no_label_column_is_no_labels(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"img": [{"bytes": encode(noise(1, 8, 8)[0]), "path": ""}]}), tmp_path / "d.parquet")
        assert prepare(f"parquet:{tmp_path / 'd.parquet'}", tmp_path / "home").labels is None

    def test_paths_are_read_beside_the_file_and_nowhere_else(self, tmp_path: Path) -> None:
        picture = noise(1, 32, 32)[0]
        (tmp_path / "d").mkdir()
        (tmp_path / "secret.png").write_bytes(encode(picture))
        (tmp_path / "d/in.png").write_bytes(encode(picture))
        good = [{"bytes": None, "path": "in.png"}] * 60
        bad = [{"bytes": None, "path": path} for path in ("../secret.png", str(tmp_path / "secret.png"), "a\0b")]
        pq.write_table(pa.table({"image": good + bad}), tmp_path / "d/d.parquet")
        with pytest.warns(
            DegasWarning, match=r"(?s)3 of 63 .*row 60: its name or link leads out of.*row 61.*zero byte"
        ):
            pack = prepare(f"parquet:{tmp_path / 'd/d.parquet'}", tmp_path / "home")
        np.testing.assert_array_equal(pack.images[0], picture)

    def test_empty_cells_count_as_unreadable(self, tmp_path: Path) -> None:
        cells = [{"bytes": encode(noise(1, 8, 8)[0]), "path": None}] * 38
        cells += [{"bytes": None, "path": None}, None]
        pq.write_table(pa.table({"image": cells}), tmp_path / "d.parquet")
        with pytest.warns(DegasWarning, match="2 of 40 .*\n.*row 38: the row has neither bytes nor a path"):
            prepare(f"parquet:{tmp_path / 'd.parquet'}", tmp_path / "home")

    @pytest.mark.parametrize(
        ("columns", "words"),
        [
            ({"picture": [b"x"]}, r"has the columns picture; expected image: \{bytes, path\}"),
            ({"image": ["text"]}, "has the columns image; expected"),
            ({"image": [b"x"], "label": [1.5]}, r"label of d\.parquet holds 1\.5; expected whole numbers or text"),
            ({"image": pa.array([], pa.binary())}, "has no rows"),
        ],
    )
    def test_other_tables_are_refused(self, tmp_path: Path, columns: dict[str, object], words: str) -> None:
        pq.write_table(pa.table(columns), tmp_path / "d.parquet")
        with pytest.raises(DataError, match=words):
            prepare(f"parquet:{tmp_path / 'd.parquet'}", tmp_path / "home")
        assert not (tmp_path / "home").exists()

    @pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.99])
    def test_truncated_files_are_named(self, tmp_path: Path, keep: float) -> None:
        file = tmp_path / "d.parquet"
        hub_parquet(file, noise(10, 8, 8), [0, 1] * 5, ["a", "b"])
        data = file.read_bytes()
        file.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
        with pytest.raises(DataError, match=r"d\.parquet cannot be read as Parquet"):
            prepare(f"parquet:{file}", tmp_path / "home")

    def test_row_groups_are_streamed_page_by_page(self, tmp_path: Path) -> None:
        """One row group of 24 MB is never in memory as a whole."""
        cells = [{"bytes": picture.tobytes(), "path": None} for picture in noise(500, 128, 128)]
        pq.write_table(pa.table({"image": cells}), tmp_path / "d.parquet", compression="none", write_batch_size=10)
        del cells
        before, peak, rows = pa.total_allocated_bytes(), 0, 0
        for row in parquet._rows(tmp_path / "d.parquet", "image", None):
            peak, rows = max(peak, pa.total_allocated_bytes() - before), rows + (row.data is not None)
        assert rows == 500
        assert peak < 12_000_000

    def test_a_limit_stops_reading(self, tmp_path: Path) -> None:
        hub_parquet(tmp_path / "d.parquet", noise(10, 8, 8), [0, 1] * 5, ["a", "b"])
        assert len(prepare(f"parquet:{tmp_path / 'd.parquet'}", tmp_path / "home", limit=4)) == 4

    def test_odd_hub_metadata_is_ignored(self, tmp_path: Path) -> None:
        for index, text in enumerate(
            (b"{", b"[]", json.dumps({"info": {"features": {"label": {"names": [1]}}}}).encode())
        ):
            table = pa.table({"image": [encode(noise(1, 8, 8)[0])] * 2, "label": [0, 1]})
            file = tmp_path / f"{index}.parquet"
            pq.write_table(table.replace_schema_metadata({b"huggingface": text}), file)
            assert prepare(f"parquet:{file}", tmp_path / "home").classes == ("0", "1")
