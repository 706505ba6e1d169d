"""ICC profiles written byte by byte, and what their colours are in sRGB by the formulas of the standards."""

import struct

import numpy as np

GAMMA = 2.2
# Columns: red, green, blue in XYZ under D50 (ICC's sRGB profile, and Display P3).
SRGB_XYZ = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
P3_XYZ = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])


def matrix_profile(xyz: np.ndarray, gamma: float = GAMMA) -> bytes:
    """Return a version 2 RGB profile with these primaries and one gamma."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    name = b"a test's profile\0"
    bodies = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642) + fixed(1.0) + fixed(0.8249),
    }
    for index, colour in enumerate(b"rgb"):
        bodies[bytes([colour]) + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(fixed(value) for value in xyz[:, index])
        bodies[bytes([colour]) + b"TRC"] = curve
    start, table, data = 128 + 4 + 12 * len(bodies), b"", b""
    for tag, body in bodies.items():
        body += bytes(-len(body) % 4)
        table += tag + struct.pack(">II", start + len(data), len(body))
        data += body
    size = start + len(data)
    header = struct.pack(">I", size) + bytes(4) + b"\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    header += fixed(0.9642) + fixed(1.0) + fixed(0.8249) + bytes(48)
    return header + struct.pack(">I", len(bodies)) + table + data


def to_srgb(colours: np.ndarray, xyz: np.ndarray, gamma: float = GAMMA) -> np.ndarray:
    """Return what 8-bit colours ``[N, 3]`` of such a profile are in sRGB, unrounded, clipped to its gamut."""
    linear = (colours / 255) ** gamma @ xyz.T @ np.linalg.inv(SRGB_XYZ).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
