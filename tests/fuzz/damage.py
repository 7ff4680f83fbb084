"""Bytes and JSON that are not what a program wrote: damaged by accident, or made by somebody who means harm."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np

from .draw import Rng, one_of

ODD = (None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**63, 2**64, 10**30, -(10**30), 0.5, 1e308, float("nan"), "")
ODD += ("0", "x", "\0", "nan", "0x1p+2000", "<f8", "|O", "O", "<U5", "V8", "f8,i4", "<f8" * 50, "M8[s]", "é" * 50)
ODD += ([], [0], [[]], [1, 2], ["a", "b"], {}, {"a": 1}, [10**12, 10**12], [-1], [-5, 3], "../../etc/passwd")
SHAPES = ((10**12,), (10**9, 10**9), (-1,), (2**62, 4), (0,), (3, 0), (), (1,) * 70, (2**31,), ("a",), None, (1.5,))


def changed_bytes(rng: Rng, data: bytes) -> bytes:
    """Some bytes flipped, cut off, left out, doubled or overwritten."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, one_of(rng, (2, 2, 4, 12))))):
        at = int(rng.integers(len(out) + 1))
        size = int(rng.integers(1, one_of(rng, (2, 9, 200))))
        way = int(rng.integers(7))
        if way == 0:
            del out[at:]
        elif way == 1:
            del out[at : at + size]
        elif way == 2:
            out[at:at] = rng.bytes(size)
        elif way == 3:
            out[at : at + size] = one_of(rng, (b"\0", b"\xff", b"\x80", b"9")) * size
        elif way == 4:
            out[at:at] = out[at : at + size]
        elif at < len(out):
            out[at] ^= 1 << int(rng.integers(8)) if way == 5 else int(rng.integers(1, 256))
    return bytes(out)


def changed_json(rng: Rng, value: Any) -> Any:
    """The same with one odd value in it, somewhere."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = one_of(rng, list(value))
        if rng.random() < 0.1:
            return {name: part for name, part in value.items() if name != key}
        return value | {key: changed_json(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at, out = int(rng.integers(len(value))), list(value)
        if rng.random() < 0.2:
            return out[:at] if rng.random() < 0.5 else [*out, *out[:at]]
        out[at] = changed_json(rng, out[at])
        return out
    return one_of(rng, ODD)


def changed_text(rng: Rng, header: Any) -> bytes:
    """A header as JSON, odd in its values or no JSON at all."""
    if rng.random() < 0.05:
        return one_of(rng, (b"", b"[" * 100_000, b'{"a":' * 50_000, b"NaN", b"\xff\xfe", b"{}", b"null", b"1" * 10_000))
    return json.dumps(changed_json(rng, header)).encode()


def members(data: bytes) -> dict[str, bytes]:
    """The members of a zip file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(rng: Rng, parts: dict[str, bytes]) -> bytes:
    """A zip file of members, its checksums right; sometimes compressed, with a name twice, or not in order."""
    out, names = io.BytesIO(), list(parts)
    if rng.random() < 0.1:
        rng.shuffle(names)
    kind = one_of(rng, (zipfile.ZIP_STORED,) * 4 + (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name in names:
            with archive.open(name, "w") as member:
                member.write(parts[name])
    return out.getvalue()


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asanyarray(array), allow_pickle=pickled)
    return out.getvalue()


class Bomb:
    """What a pickle of this runs when it is loaded."""

    def __reduce__(self) -> Any:
        return exec, ("import fastsoftmax; fastsoftmax.exploded = True",)


def changed_npy(rng: Rng, data: bytes) -> bytes:
    """A .npy file with another head: a size that is not there, another dtype, no head at all; or with a pickle."""
    way = int(rng.integers(6))
    if way == 0:
        return npy(np.array([Bomb()], object), pickled=True)
    if way == 1:
        return changed_bytes(rng, data)
    out = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(out)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, order, dtype = read(out)
    except (ValueError, SyntaxError):
        return changed_bytes(rng, data)
    head = {"descr": dtype.str, "fortran_order": order, "shape": shape}
    if way == 2:
        odd = (
            (10**12,),
            (10**9, 10**9),
            (-1,),
            (2**62, 4),
            (0,),
            (3, 0),
            (),
            (1,) * 70,
            (2**31,),
            ("a",),
            None,
            (1.5,),
        )
        head["shape"] = one_of(rng, odd)
    elif way == 3:
        odd_dtypes = ("|O", "<c16", "<U9", "|V3", "<M8[s]", "|S4", "<f2", ">f8", "<f16", "|b1", [("a", "<f8")], "x", 7)
        head["descr"] = one_of(rng, odd_dtypes)
    elif way == 4:
        head["fortran_order"] = one_of(rng, (True, False, 1, None))
    else:
        head["extra"] = 1
    text = (repr(head) if rng.random() < 0.9 else "(" * 5000 + "1" + ")" * 5000).encode().ljust(53) + b"\n"
    magic = b"\x93NUMPY\x01\x00" if len(text) < 65000 else b"\x93NUMPY\x02\x00"
    return magic + len(text).to_bytes(2, "little") + text + out.read()


def changed_npz(rng: Rng, data: bytes, *, json_member: str | None = None) -> bytes:
    """An .npz file with a member that is another; all of zip's checksums are right."""
    parts = members(data)
    name = one_of(rng, list(parts))
    if json_member in parts and rng.random() < 0.7:
        header = json.loads(np.load(io.BytesIO(parts[json_member])).tobytes())
        parts[json_member] = npy(np.frombuffer(changed_text(rng, header), np.uint8))
    elif rng.random() < 0.2:
        del parts[name]
    elif rng.random() < 0.1:
        parts[one_of(rng, ("y.npy", "X.npy", "../a.npy", "theta", "x" * 300, "header"))] = parts[name]
    else:
        parts[name] = changed_npy(rng, parts[name])
    return zipped(rng, parts)
