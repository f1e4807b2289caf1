"""Many uploads at once, a full queue, and clients that leave."""

import asyncio
import os
import signal
import time
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from support.serving import Server
from support.wav_files import wav

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def transcribe(client: AsyncOpenAI, seconds: float, model: str = "whisper") -> str:
    answer = await client.audio.transcriptions.create(
        model=model, file=("a.wav", wav(seconds)), language="en"
    )
    return answer.text


async def test_uploads_of_many_clients(client: AsyncOpenAI) -> None:
    lengths = [2 + i % 4 for i in range(20)]
    alone = {seconds: await transcribe(client, seconds) for seconds in set(lengths)}
    together = await asyncio.gather(*(transcribe(client, seconds) for seconds in lengths))
    assert together == [alone[seconds] for seconds in lengths]


async def test_a_full_queue(server: Server, client: AsyncOpenAI) -> None:
    wav(300)  # takes long to make
    served = asyncio.create_task(transcribe(client, 300, "no-words"))
    graph = server.manager.get("no-words").graph
    async with asyncio.timeout(30):
        while not graph.num_running:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    # One may wait.
    answers = await asyncio.gather(
        *(transcribe(client, 1, "no-words") for _ in range(5)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, openai.InternalServerError)]
    assert len(refused) == 4
    assert all(error.status_code == 503 for error in refused)
    assert all(error.response.headers["Retry-After"] for error in refused)
    assert "requests wait, and with 1 more" in str(refused[0])
    assert await served


async def test_others_are_served_meanwhile(server: Server, client: AsyncOpenAI) -> None:
    wav(300)  # takes long to make
    upload = asyncio.create_task(transcribe(client, 300))
    slowest = 0.0
    while not upload.done():
        start = time.monotonic()
        async with server.http.get("/v2/health/live") as response:
            assert response.status == 200
        slowest = max(slowest, time.monotonic() - start)
        await asyncio.sleep(0.01)
    assert await upload
    assert slowest < 1.5


async def test_a_client_that_leaves(server: Server, client: AsyncOpenAI) -> None:
    stream = await client.audio.transcriptions.create(
        model="whisper", file=("a.wav", wav(300)), stream=True
    )
    await anext(aiter(stream))
    await stream.close()
    # Much sooner than the rest of the recording would take.
    assert await transcribe(client, 2)
    graph = server.manager.get("whisper").graph
    async with asyncio.timeout(60):
        while graph.num_running:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_a_crash_fails_one_request(server: Server, client: AsyncOpenAI) -> None:
    """Nineteen others wait, and are served; so is the model of another process."""
    alone = await transcribe(client, 2)
    before = whisper_process(server)
    # What arrives now runs until the process is killed.
    os.kill(before["pid"], signal.SIGSTOP)
    requests = [asyncio.create_task(transcribe(client, 2)) for _ in range(20)]
    await server.until_running(20, "whisper")
    assert await client.audio.speech.create(model="speech", input="The fox", voice="ann")
    os.kill(before["pid"], signal.SIGKILL)
    answers = await asyncio.gather(*requests, return_exceptions=True)
    [error] = [answer for answer in answers if isinstance(answer, openai.InternalServerError)]
    assert error.status_code == 500
    assert "ended: signal SIGKILL; it is started again" in str(error)
    assert answers.count(alone) == 19
    after = whisper_process(server)
    assert after["restarts"] == before["restarts"] + 1
    assert after["pid"] != before["pid"]


async def test_a_crash_in_a_stream(server: Server, client: AsyncOpenAI) -> None:
    stream = await client.audio.transcriptions.create(
        model="whisper", file=("a.wav", wav(900)), stream=True
    )
    events = aiter(stream)
    await anext(events)
    os.kill(whisper_process(server)["pid"], signal.SIGKILL)
    with pytest.raises(openai.APIError, match="signal SIGKILL"):
        async for _ in events:
            pass
    # Requests that come before the model is back are told when to come again.
    with pytest.raises(openai.InternalServerError, match="signal SIGKILL") as error:
        await transcribe(client, 2)
    assert error.value.status_code == 503
    assert error.value.response.headers["Retry-After"]
    assert await transcribe(client.with_options(max_retries=10), 2)


def whisper_process(server: Server) -> Any:
    """The status of the node."""
    [status] = server.manager.get("whisper").graph.status().values()
    return status
