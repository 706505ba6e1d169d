"""Which files are images: by their suffix, and where that says nothing, by how they begin."""

import os
import re

from PIL import features

SUFFIXES = frozenset({
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm",
    ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".j2k", ".jpx", ".jpf", ".qoi", ".avif",
})  # fmt: skip
HEAD = 512  # bytes that tell what a file is
# Text that lies beside images by the thousand and is not looked into.
_TEXT = frozenset({".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".md", ".yaml", ".yml", ".log"})
# Camera files are TIFF inside, with a thumbnail where a TIFF has its image.
_RAW = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mos", ".nef", ".nrw", ".orf", ".pef", ".raf",
    ".rw2", ".srw", ".x3f",
})  # fmt: skip
_SIGNATURES = (
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"GIF8[79]a", "GIF"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF"),
    (rb"BM....\0\0\0\0", "BMP"),
    (rb"P[1-7]\s+(#[^\n]*\n\s*)*\d+\s+\d+\s", "PNM"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"qoif", "QOI"),
    (rb"8BPS\x00\x01", "Photoshop"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (rb"\x76\x2f\x31\x01", "OpenEXR"),
    (rb"#\?(RADIANCE|RGBE)", "Radiance"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg", "SVG"),
)
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_KINDS = tuple((re.compile(pattern, re.DOTALL), kind) for pattern, kind in _SIGNATURES)
_CONVERT = "save it as PNG, TIFF or JPEG"


def kind_of(head: bytes) -> str | None:
    """Return what kind of image begins with these bytes (:data:`HEAD` of them are enough); None where none does."""
    if head[4:8] == b"ftyp":
        brands = {head[start : start + 4] for start in range(8, min(int.from_bytes(head[:4]), len(head)), 4)}
        return "AVIF" if brands & _AVIF else "HEIC" if brands & _HEIC else None
    return next((kind for pattern, kind in _KINDS if pattern.match(head)), None)


def why_unread(kind: str | None) -> str | None:
    """Return why images of a kind are not read on this machine, and what helps; None where they are."""
    if kind == "HEIC":
        return None if _has_heif() else "HEIC images need a decoder: pip install pillow-heif"
    if kind == "AVIF":
        return None if features.check("avif") else "AVIF images need a decoder: pip install 'pillow>=11.3'"
    if kind in ("JPEG XL", "OpenEXR", "Radiance", "SVG"):
        return f"{kind} images are not read; {_CONVERT}"
    return None


def is_text(name: str) -> bool:
    """Return whether a file's suffix says that it holds text."""
    return os.path.splitext(name)[1].lower() in _TEXT


def is_raw(name: str) -> bool:
    """Return whether a file's suffix says that it is a camera's raw file."""
    return os.path.splitext(name)[1].lower() in _RAW


def has_image_suffix(name: str) -> bool:
    """Return whether a file's suffix says that it is an image that is read here."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _has_heif() -> bool:
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        return False
    return True
