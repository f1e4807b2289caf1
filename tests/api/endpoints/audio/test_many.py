"""Many uploads at once, a full queue, and clients that leave."""

import asyncio
import os
import signal
import time

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
    assert "requests wait for this model already" in str(refused[0])
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
    async with asyncio.timeout(10):
        while graph.num_running:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_a_crash_fails_one_request(server: Server, client: AsyncOpenAI) -> None:
    """Nineteen others wait, a model of another process speaks, and nobody else notices."""
    wav(100)  # takes long to make
    alone = await transcribe(client, 2)
    graph = server.manager.get("whisper").graph
    before = whisper_process(server)
    stream = await client.audio.transcriptions.create(
        model="whisper", file=("a.wav", wav(100)), stream=True
    )
    events = aiter(stream)
    await anext(events)
    others = [asyncio.create_task(transcribe(client, 2)) for _ in range(19)]
    async with asyncio.timeout(30):
        while graph.num_running < 20:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    os.kill(before["pid"], signal.SIGKILL)
    with pytest.raises(openai.APIError, match="ended: signal SIGKILL; it is started again"):
        async for _ in events:
            pass
    assert await client.audio.speech.create(model="speech", input="The fox", voice="ann")
    assert await asyncio.gather(*others) == [alone] * 19
    after = whisper_process(server)
    assert after["restarts"] == before["restarts"] + 1
    assert after["pid"] != before["pid"]
    assert server.manager.get("whisper").failure is None


async def test_a_crash_is_a_server_error(server: Server, client: AsyncOpenAI) -> None:
    wav(300)  # takes long to make
    request = asyncio.create_task(transcribe(client, 300))
    async with asyncio.timeout(30):
        while not whisper_process(server)["running"]:
            await asyncio.sleep(0.01)
    os.kill(whisper_process(server)["pid"], signal.SIGKILL)
    with pytest.raises(openai.InternalServerError, match="signal SIGKILL") as error:
        await request
    assert error.value.status_code == 500
    # Requests that come before the model is back are told when to come again.
    with pytest.raises(openai.InternalServerError, match="signal SIGKILL") as error:
        await transcribe(client, 2)
    assert error.value.status_code == 503
    assert error.value.response.headers["Retry-After"]
    async with asyncio.timeout(30):
        while server.manager.get("speech").failure or whisper_process(server)["pid"] is None:
            await asyncio.sleep(0.01)
    async with server.openai() as patient:
        patient.max_retries = 10
        assert await transcribe(patient, 2)


def whisper_process(server: Server) -> Any:
    [status] = server.manager.get_status("whisper")
    return status
