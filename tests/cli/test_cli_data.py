"""``degas-ray data`` on the embedded digits and on folders."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from degas_ray.cli.main import main


def run(*args: str | Path):
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    assert run("data", "prepare", "digits", "--limit", "200", "--home", home, "--quiet").exit_code == 0
    return home


def test_list_names_every_source_and_counts_packs(home: Path) -> None:
    rows = json.loads(run("data", "list", "--json", "--home", home).stdout)["sources"]
    assert [row["source"] for row in rows][:2] == ["digits", "photos"]
    assert [len(row["packs"]) for row in rows][:2] == [1, 0]
    text = run("data", "list", "--home", home).stdout
    assert all(row["source"] in text for row in rows)


def test_prepare_finds_the_pack_that_is_there(home: Path) -> None:
    before = sorted((home / "packs").iterdir())
    result = run("data", "prepare", "digits", "--limit", "200", "--home", home, "--json")
    facts = json.loads(result.stdout)
    assert (facts["images"], facts["resolution"], sum(facts["classes"].values())) == (200, 16, 200)
    assert result.stderr == ""
    assert sorted((home / "packs").iterdir()) == before == [Path(facts["path"])]


def test_facts_for_people(home: Path) -> None:
    text = run("data", "show", "digits", "--limit", "200", "--home", home).stdout
    assert "images       200 of 16x16, 0.2 MB" in text
    assert "classes      0 2" in text


def test_show_writes_a_grid(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "grid.png"
    assert run("data", "show", "digits", "--limit", "200", "--home", home, "--out", out, "--count", "9").exit_code == 0
    assert Image.open(out).size == (3 * 66 + 2, 3 * 66 + 2)
    assert list(out.parent.iterdir()) == [out]


def test_check_finds_a_damaged_byte(home: Path, tmp_path: Path) -> None:
    sound = next((home / "packs").iterdir())
    assert "200 images, sound" in run("data", "check", sound).stdout
    content = bytearray(sound.read_bytes())
    content[len(content) // 2] ^= 255
    damaged = tmp_path / "damaged.arrow"
    damaged.write_bytes(content)
    result = run("data", "check", damaged, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["faults"] == [
        "the content does not match the fingerprint: the file was damaged or edited"
    ]
    assert "Delete it and type: degas-ray data prepare digits" in result.stderr


def test_a_folder_with_a_broken_file_is_packed_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(30):
        Image.fromarray(np.full((20 + index, 40, 3), index, np.uint8)).save(folder / f"{index:02d}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = run("data", "prepare", f"folder:{folder}", "--resolution", "16", "--home", tmp_path / "home", "--json")
    assert json.loads(result.stdout)["images"] == 30
    assert "Warning: 1 of 31 images" in result.stderr
    assert "broken.png" in result.stderr


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["prepare", "digit"], "there is no data source 'digit'; did you mean digits?"),
        (["prepare", "digits", "--resolution", "20"], "resolution: got 20, expected a multiple of 8"),
        (["prepare", "digits", "--limit", "0"], "limit: got 0, expected 1 or more"),
        (["prepare", "folder:/nowhere"], "/nowhere"),
        (["prepare", "cifar10", "--data-dir", "/nowhere"], "/nowhere"),
        (
            ["check", "missing.arrow"],
            "there is no pack at missing.arrow; make one with 'degas-ray data prepare",
        ),
        (["show", "digits", "--out", "grid.jpg"], "--out: got 'grid.jpg', expected a name that ends in .png"),
        (["show", "digits", "--count", "0"], "Invalid value for '--count'"),
    ],
)
def test_wrong_input_is_a_sentence_and_writes_nothing(args: list[str], part: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    result = run("data", *args, "--home", home)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ")
    assert part in result.stderr
    assert not home.exists()


def test_a_folder_with_everything_at_once_is_accounted_for(tmp_path: Path) -> None:
    """Every file is packed or named: side files, links, modes, sizes, odd suffixes, splits, strays, a pipe."""
    folder = tmp_path / "pictures"
    rng = np.random.default_rng(0)

    def picture(mode: str = "RGB", size: tuple[int, int] = (20, 20)) -> Image.Image:
        return Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).convert(mode)

    for split, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            (folder / "wrapped" / split / name).mkdir(parents=True)
            for index in range(count):
                mode = ("RGB", "L", "RGBA", "P", "CMYK", "1")[index]
                kind = "jpg" if mode == "CMYK" else "png"
                picture(mode, (20 + index, 30)).save(folder / "wrapped" / split / name / f"{index}.{kind}")
    train = folder / "wrapped/train"
    Image.fromarray(np.full((16, 16), 9000, np.uint16)).save(train / "cat/deep.png")
    picture().save(train / "cat/no-suffix", "PNG")
    picture().save(train / "preview.png")
    (train / "cat/._0.png").write_bytes(b"\0\5\x16\7")
    (folder / "Thumbs.db").write_bytes(b"\0")
    (folder / "labels.csv").write_text("a,b\n")
    (train / "dog/loop").symlink_to("..")
    (train / "dog/dead.png").symlink_to("nowhere.png")
    (tmp_path / "store").mkdir()
    picture().save(tmp_path / "store/1.png")
    (train / "dog/link.png").symlink_to(tmp_path / "store/1.png")
    os.mkfifo(train / "dog/pipe.png")

    result = run("data", "check", f"folder:{folder}", "--resolution", "16", "--home", tmp_path / "home", "--json")
    facts = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (facts["images"], facts["faults"]) == (6 + 6 + 3, [])
    assert {reason: entry["count"] for reason, entry in facts["left_out"].items()} == {
        "hidden files and side files": 2,
        "files that are no images": 1,
        "images of other splits": 4,
        "images beside the class folders": 1,
        "links to folders that are read already": 1,
        "links that lead nowhere": 1,
        "not regular files": 1,
    }
    assert "train is taken; --split names another, or all" in result.stderr
    text = run("data", "check", f"folder:{folder}", "--resolution", "16", "--home", tmp_path / "home").stdout
    assert "1 link to a folder that is read already: wrapped/train/dog/loop" in text
    assert "1 file that is not regular: wrapped/train/dog/pipe.png" in text
    assert "there are 15 images, and scores compare with 1,000" in text
    other = run("data", "show", f"folder:{folder}", "--split", "test", "--home", tmp_path / "home").stdout
    assert "classes      cat 2, dog 2" in other


def test_part_of_a_known_set_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "img_align_celeba").mkdir()
    Image.fromarray(np.zeros((218, 178, 3), np.uint8)).save(tmp_path / "img_align_celeba/000001.jpg")
    args = ("data", "prepare", "celeba", "--data-dir", tmp_path, "--home", tmp_path / "home")
    refused = run(*args)
    assert refused.exit_code == 2
    assert "celeba has 202,599 images, and 1 are there" in refused.stderr
    assert "--allow-incomplete" in refused.stderr
    assert "incomplete   celeba has 202,599 images" in run(*args, "--allow-incomplete").stdout
