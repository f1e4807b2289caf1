import asyncio

import pytest

from server.graph.stream import EndOfStream, InputStream, OutputStream, StreamClosed


def make(capacity: int = 2, readers: int = 1) -> tuple[OutputStream[int], list[InputStream[int]]]:
    inputs = [InputStream[int](f"reader {i}", capacity) for i in range(readers)]
    return OutputStream("writer", int, tuple(inputs)), inputs


async def test_packets_arrive_in_order_and_the_stream_ends() -> None:
    output, (stream,) = make()
    await output.send(1)
    await output.send(2)
    output._end()
    assert [packet async for packet in stream] == [1, 2]
    with pytest.raises(EndOfStream, match="reader 0 has ended"):
        await stream.receive()


async def test_send_waits_while_the_reader_is_full() -> None:
    output, (stream,) = make(capacity=1)
    await output.send(1)
    sending = asyncio.create_task(output.send(2))
    await asyncio.sleep(0)
    assert not sending.done()
    assert await stream.receive() == 1
    await sending
    assert await stream.receive() == 2


async def test_receive_waits_for_a_packet() -> None:
    output, (stream,) = make()
    receiving = asyncio.create_task(stream.receive())
    await asyncio.sleep(0)
    await output.send(7)
    assert await receiving == 7


async def test_a_cancelled_receive_loses_nothing() -> None:
    output, (stream,) = make()
    receiving = asyncio.create_task(stream.receive())
    await asyncio.sleep(0)
    receiving.cancel()
    await output.send(7)
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert await stream.receive() == 7


async def test_a_cancelled_send_sends_nothing() -> None:
    output, (stream,) = make(capacity=1)
    await output.send(1)
    sending = asyncio.create_task(output.send(2))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    output._end()
    assert [packet async for packet in stream] == [1]


async def test_close_wakes_a_waiting_writer_and_drops_the_rest() -> None:
    output, (stream,) = make(capacity=1)
    await output.send(1)
    sending = asyncio.create_task(output.send(2))
    await asyncio.sleep(0)
    stream.close()
    stream.close()
    with pytest.raises(StreamClosed, match="writer is closed"):
        await sending
    assert output.closed
    with pytest.raises(StreamClosed):
        await output.send(3)
    with pytest.raises(EndOfStream):
        await stream.receive()


async def test_every_reader_gets_every_packet_and_the_slowest_sets_the_pace() -> None:
    output, (slow, fast) = make(capacity=1, readers=2)
    await output.send(1)
    assert await fast.receive() == 1
    sending = asyncio.create_task(output.send(2))
    await asyncio.sleep(0)
    assert not sending.done()
    assert await slow.receive() == 1
    await sending
    assert (await slow.receive(), await fast.receive()) == (2, 2)


async def test_a_closed_reader_does_not_stop_the_others() -> None:
    output, (first, second) = make(capacity=1, readers=2)
    await output.send(1)
    assert await second.receive() == 1
    sending = asyncio.create_task(output.send(2))
    await asyncio.sleep(0)
    first.close()
    await sending
    assert not output.closed
    assert await second.receive() == 2
    second.close()
    assert output.closed


async def test_an_output_without_readers_drops_and_is_never_closed() -> None:
    output, _ = make(readers=0)
    for number in range(100):
        await output.send(number)
    assert not output.closed


async def test_a_packet_of_another_type_is_refused() -> None:
    output, _ = make()
    with pytest.raises(TypeError, match="writer was sent a str, but carries int"):
        await output.send("1")  # type: ignore[arg-type]  # the mistake under test


async def test_several_tasks_may_send() -> None:
    output, (stream,) = make(capacity=1)
    sending = asyncio.gather(*(output.send(number) for number in range(10)))
    received = [await stream.receive() for _ in range(10)]
    await sending
    assert sorted(received) == list(range(10))


async def test_two_readers_of_one_input_are_a_mistake() -> None:
    _, (stream,) = make()
    first = asyncio.create_task(stream.receive())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="read by two tasks"):
        await stream.receive()
    first.cancel()


async def test_nothing_can_be_sent_after_the_end() -> None:
    output, _ = make()
    output._end()
    with pytest.raises(StreamClosed):
        await output.send(1)


async def test_a_send_that_finds_room_makes_no_task_and_does_not_suspend() -> None:
    output, (stream,) = make()
    num_tasks = len(asyncio.all_tasks())
    sending = output.send(1)
    with pytest.raises(StopIteration):
        sending.send(None)
    assert len(asyncio.all_tasks()) == num_tasks
    assert await stream.receive() == 1
