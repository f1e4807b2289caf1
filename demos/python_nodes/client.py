"""Asks the three graphs over gRPC, as clients of OpenVINO Model Server do."""

import argparse
import queue
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient


def text_input(name: str, text: str) -> grpcclient.InferInput:
    """The bytes of a text as they are, without the lengths that BYTES has otherwise."""
    data = text.encode()
    tensor = grpcclient.InferInput(name, [len(data)], "BYTES")
    tensor._raw_content = data
    return tensor


def ask(client: grpcclient.InferenceServerClient, model: str, output: str, text: str) -> str:
    """The text that a graph answers."""
    answer = client.infer(model, [text_input("text", text)])
    return answer.as_numpy(output).tobytes().decode()


def count_down(client: grpcclient.InferenceServerClient, start: int) -> list[int]:
    """The numbers, which come one by one."""
    answers: queue.Queue[Any] = queue.Queue()
    tensor = grpcclient.InferInput("start", [1], "INT32")
    tensor.set_data_from_numpy(np.array([start], np.int32))
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    client.async_stream_infer("countdown", [tensor])
    numbers: list[int] = []
    while True:
        result, error = answers.get(timeout=30)
        if error is not None:
            raise error
        if result.as_numpy("end_signal") is not None:
            break
        numbers += result.as_numpy("number").tolist()
    client.stop_stream()
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="localhost:9000", help="address of the server")
    client = grpcclient.InferenceServerClient(parser.parse_args().url)
    print(ask(client, "uppercase", "uppercase", "make this text uppercase"))
    print(*count_down(client, 3))
    print(ask(client, "letters", "answer", "queue"))
    client.close()


if __name__ == "__main__":
    main()
