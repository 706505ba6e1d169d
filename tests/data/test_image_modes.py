"""Colour profiles, transparency, inverted and narrow scales: the same right pixels in packs and in evaluate."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageCms
from profiles import P3_XYZ, SRGB_XYZ, matrix_profile, to_srgb
from source_formats import encode, noise, smooth

from degas_ray.cli.main import main
from degas_ray.data import prepare
from degas_ray.data.images import decode
from degas_ray.errors import DegasWarning
from degas_ray.scores import open_samples

RAMP = np.tile(np.linspace(0, 255, 32).round().astype(np.uint8), (32, 1))
P3 = matrix_profile(P3_XYZ)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def grey_tiff(values: np.ndarray, bits: int, *, white_is_zero: bool, form: int = 1) -> bytes:
    """Write one strip of uncompressed grey; form: 1 unsigned, 2 signed, 3 floating point."""
    if bits == 12:
        flat = values.ravel().astype(int)
        first, second = flat[::2], flat[1::2]
        data = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()
    else:
        data = values.tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 0 if white_is_zero else 1), (273, 8),
            (277, 1), (278, height), (279, len(data)), (339, form)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


class TestProfiles:
    COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [128, 128, 128], [255, 255, 255], [0, 0, 0]])

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
    def test_display_p3_becomes_srgb(self, kind: str) -> None:
        image = Image.fromarray(np.tile(self.COLOURS.astype(np.uint8)[None], (6, 1, 1)))
        options = {"lossless": True} if kind == "WEBP" else {}
        ours = decode(saved(image, kind, icc_profile=P3, **options), None)[0]
        assert np.abs(ours - to_srgb(self.COLOURS, P3_XYZ)).max() <= 1.5
        assert np.abs(ours[0].astype(int) - self.COLOURS[0]).max() > 15

    def test_srgbs_own_profile_changes_nothing(self) -> None:
        picture = noise(1, 32, 32)[0]
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        np.testing.assert_array_equal(decode(saved(Image.fromarray(picture), icc_profile=profile), 32), picture)

    def test_a_profile_holds_below_transparency_and_palettes(self) -> None:
        colour = np.tile(np.array([200, 40, 40], np.uint8), (8, 8, 1))
        layer = Image.fromarray(np.dstack([colour, np.tile(np.uint8([0, 255]), (8, 4))]))
        expected = to_srgb(np.array([200, 40, 40]), P3_XYZ)
        ours = decode(saved(layer, icc_profile=P3), None)
        assert (ours[:, ::2] == 255).all()
        assert np.abs(ours[:, 1::2] - expected).max() <= 1.5
        palette = Image.fromarray(colour).quantize(4)
        assert np.abs(decode(saved(palette, icc_profile=P3), None) - expected).max() <= 1.5

    def test_unusable_profiles_are_said_and_the_image_is_taken_as_srgb(self, tmp_path: Path) -> None:
        cmyk = bytearray(P3)
        cmyk[16:20] = b"CMYK"
        for index, profile in enumerate((b"no profile", P3[:200], bytes(cmyk))):
            Image.fromarray(noise(1, 16, 16, seed=index)[0]).save(tmp_path / f"{index}.png", icc_profile=profile)
        with pytest.warns(DegasWarning, match="3 images have a colour profile that cannot be used"):
            pack = prepare(f"folder:{tmp_path}", tmp_path / "home", resolution=16)
        np.testing.assert_array_equal(pack.images, np.concatenate([noise(1, 16, 16, seed=index) for index in range(3)]))

    def test_lab_is_converted(self) -> None:
        """L* of 50 without colour is a grey of 119 in sRGB: Y = 0.1842, encoded."""
        lab = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (128, 128, 128)])
        grey = 255 * (1.055 * (((128 / 255 * 100) + 16) / 116) ** (3 / 2.4) - 0.055)
        assert np.abs(decode(saved(lab, "TIFF"), None) - grey).max() <= 1.5


class TestScales:
    @pytest.mark.parametrize(("bits", "top"), [(12, 4095), (16, 65535)])
    def test_narrow_and_inverted_scales_keep_their_full_range(self, bits: int, top: int) -> None:
        values = np.rint(RAMP / 255 * top).astype("<u2")
        np.testing.assert_array_equal(decode(grey_tiff(values, bits, white_is_zero=False), None)[..., 0], RAMP)
        if bits == 16:  # Pillow does not open inverted 12-bit files
            np.testing.assert_array_equal(decode(grey_tiff(values, bits, white_is_zero=True), None)[..., 0], 255 - RAMP)

    def test_inverted_8_bits(self) -> None:
        np.testing.assert_array_equal(decode(grey_tiff(RAMP, 8, white_is_zero=True), None)[..., 0], 255 - RAMP)

    def test_floats_from_0_to_1(self) -> None:
        values = (RAMP / 255).astype("<f4")
        np.testing.assert_array_equal(decode(grey_tiff(values, 32, white_is_zero=False, form=3), None)[..., 0], RAMP)


def _turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def _half_clear(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    layer.putalpha(Image.fromarray(np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))))
    return layer


MODES = {
    "RGB": lambda image: saved(image),
    "RGBA": lambda image: saved(_half_clear(image)),
    "LA": lambda image: saved(_half_clear(image).convert("LA")),
    "palette": lambda image: saved(image.quantize(16), transparency=3),
    "bilevel": lambda image: saved(image.convert("1")),
    "16 bits": lambda image: saved(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)),
    "float": lambda image: saved(Image.fromarray(np.asarray(image.convert("L")).astype(np.float32) / 255), "TIFF"),
    "CMYK": lambda image: saved(image.convert("CMYK"), "JPEG"),
    "turned": _turned,
    "P3": lambda image: saved(image, icc_profile=P3),
    "GIF": lambda image: saved(image.quantize(64), "GIF"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("resolution", [32, 16])
def test_evaluate_sees_the_pixels_of_the_pack(tmp_path: Path, mode: str, resolution: int) -> None:
    """A folder's samples are its pack's images, so its distance to itself is 0 in every mode."""
    folder = tmp_path / "d"
    folder.mkdir()
    for index, picture in enumerate(smooth(7, 32, 32)):
        (folder / f"{index}.png").write_bytes(MODES[mode](Image.fromarray(picture)))
    pack = prepare(f"folder:{folder}", tmp_path / "home", resolution=resolution)
    samples = open_samples(folder, resolution, batch=3)
    if resolution == 32:
        batches = list(samples.batches)
    else:
        with pytest.warns(DegasWarning, match="were resized from 32x32 to 16x16"):
            batches = list(samples.batches)
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), pack.images)
    assert samples.resized() == ("" if resolution == 32 else "32x32 to 16x16")


def test_a_distance_to_itself_is_0_and_another_size_is_another_protocol(tmp_path: Path) -> None:
    for size in (16, 24):
        (tmp_path / str(size)).mkdir()
        for index, picture in enumerate(smooth(12, size, size)):
            (tmp_path / str(size) / f"{index}.png").write_bytes(_turned(_half_clear_of(picture)))

    def evaluate(folder: str) -> tuple[dict[str, object], str]:
        settings = ["--resolution", "16", "--set", "scores.splits=1", "--home", str(tmp_path / "home"), "-q", "--json"]
        result = CliRunner().invoke(
            main, ["evaluate", str(tmp_path / folder), "--dataset", f"folder:{tmp_path / '16'}", *settings]
        )
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout), result.stderr

    (same, silent), (other, said) = evaluate("16"), evaluate("24")
    assert abs(same["fid"]) < 1e-3  # type: ignore[arg-type]
    assert "resized" not in silent
    assert "the images of folder:24 were resized from 24x24 to 16x16" in said
    assert other["protocol_hash"] != same["protocol_hash"]


def _half_clear_of(picture: np.ndarray) -> Image.Image:
    layer = Image.fromarray(picture).convert("RGBA")
    layer.putalpha(Image.new("L", layer.size, 128))
    return layer


def test_a_pack_of_another_size_is_resized_and_said(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for index, picture in enumerate(smooth(6, 32, 32)):
        (tmp_path / f"d/{index}.png").write_bytes(encode(picture))
    pack = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home")
    small = prepare(f"folder:{tmp_path / 'd'}", tmp_path / "home", resolution=16)
    with pytest.warns(DegasWarning, match="32x32 to 16x16"):
        ours = np.concatenate(list(open_samples(pack, 16).batches))
    assert np.abs(ours.astype(int) - small.images.astype(int)).max() <= 2


def test_srgb_columns_add_up_to_white() -> None:
    """The test's own profiles: D50's white is the sum of the primaries."""
    for xyz in (SRGB_XYZ, P3_XYZ):
        np.testing.assert_allclose(xyz.sum(axis=1), [0.9642, 1.0, 0.8249], atol=5e-4)
