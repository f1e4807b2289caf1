"""Bytes that are no gRPC, and messages that are no requests."""

import asyncio
import random
from contextlib import suppress

import grpc
import tritonclient.grpc.service_pb2 as pb
from hostile.target import Target

__all__ = ["CASES"]

SERVICE = "/inference.GRPCInferenceService/"
METHODS = ("ModelInfer", "ModelMetadata", "ModelReady", "ServerLive", "ModelConfig", "NoSuch")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Those of clients' mistakes; what is the server's own is not among them.
GOOD = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"}
GOOD |= {"UNAVAILABLE", "FAILED_PRECONDITION", "OUT_OF_RANGE"}


async def call(target: Target, channel: grpc.aio.Channel, method: str, data: bytes) -> None:
    """Send bytes as the message of a method."""
    try:
        await channel.unary_unary(SERVICE + method)(data, timeout=60)
        target.counts["OK"] += 1
    except grpc.aio.AioRpcError as error:
        code = error.code().name
        target.counts[code] += 1
        # grpc itself says INTERNAL where a message cannot be parsed.
        is_parsing = code == "INTERNAL" and "deserializ" in (error.details() or "")
        problem = f"gRPC {method}: {code} {error.details()}: {data[:200]!r}"
        target.expect(code in GOOD or is_parsing, problem)


def infer(**fields: object) -> bytes:
    """An inference request for the model `half`."""
    request = pb.ModelInferRequest(model_name="half")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[2])
    for key, value in fields.items():
        if key == "raw":
            request.raw_input_contents.extend(value)
        elif key == "shape":
            tensor.shape[:] = value
        else:
            setattr(tensor, key, value)
    return bytes(request.SerializeToString())


async def messages(target: Target) -> None:
    rng = random.Random(1)
    whole = infer(raw=[b"\0" * 8])
    bad = [infer(raw=[b"\0" * size]) for size in (0, 1, 7, 9, 10_000_000)]
    bad += [infer(raw=[b"\0" * 8] * 1000), infer(shape=[2**62, 4]), infer(shape=[-1] * 50)]
    bad += [infer(shape=[0]), infer(datatype="BYTES", raw=[b"\xff\xff\xff\xff"]), b"", whole[:-3]]
    bad += [infer(datatype=text, raw=[b""]) for text in ("", "FP33", "a" * 100_000, "\u202e")]
    bad += [rng.randbytes(rng.randrange(1, 2000)) for _ in range(200)]
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(len(data))] = rng.randrange(256)
        bad.append(bytes(data))
    async with grpc.aio.insecure_channel(target.server.grpc_address) as channel:
        for data in bad:
            await call(target, channel, rng.choice(METHODS), data)
            await call(target, channel, "ModelInfer", data)


async def raw_bytes(target: Target) -> None:
    rng = random.Random(2)
    host, _, port = target.server.grpc_address.rpartition(":")
    frames = [rng.randbytes(rng.randrange(1, 5000)) for _ in range(60)]
    frames += [PREFACE + rng.randbytes(500) for _ in range(60)]
    # HTTP/2's own floods: pings, empty settings, resets, a huge window, endless headers.
    frames += [PREFACE + b"\0\0\0\4\0\0\0\0\0" * 20_000]
    frames += [PREFACE + b"\0\0\x08\6\0\0\0\0\0abcdefgh" * 20_000]
    frames += [PREFACE + b"\0\x10\0\1\0\0\0\0\1" + b"\x82" * 4096]
    frames += [PREFACE + b"\0\0\4\x08\0\0\0\0\0\x7f\xff\xff\xff" * 1000]
    for frame in frames:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(frame)
                writer.write_eof()
                await reader.read()
                writer.close()
        target.counts["sent"] += 1


async def idle_channels(target: Target) -> None:
    channels = []
    for i in range(100):
        # An option that differs keeps the library from sharing a connection.
        options = [("grpc.primary_user_agent", f"idle {i}")]
        channel = grpc.aio.insecure_channel(target.server.grpc_address, options)
        await call(target, channel, "ServerLive", b"")
        channels.append(channel)
    await target.check_chat()
    for channel in channels:
        await channel.close()


CASES = {
    "gRPC: broken messages": messages,
    "gRPC: bytes that are no HTTP/2, floods of frames": raw_bytes,
    "gRPC: 100 idle channels": idle_channels,
}
