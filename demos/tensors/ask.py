"""Asks half_plus_three over KServe's gRPC, KServe's HTTP and TensorFlow Serving's API.

Needs tritonclient[grpc,http] and a server with --port.
"""

import argparse
import json
import urllib.request

import numpy as np
import tritonclient.grpc as kserve_grpc
import tritonclient.http as kserve_http

MODEL = "half_plus_three"
VALUES = [1.0, 2.0, 5.0]


def ask_grpc(address: str) -> list[float]:
    """One call."""
    with kserve_grpc.InferenceServerClient(address) as client:
        x = kserve_grpc.InferInput("x", [len(VALUES)], "FP32")
        x.set_data_from_numpy(np.array(VALUES, np.float32))
        return client.infer(MODEL, [x]).as_numpy("y").tolist()


def ask_stream(address: str) -> list[float]:
    """A request for each value, in one stream."""
    answers = []
    with kserve_grpc.InferenceServerClient(address) as client:
        client.start_stream(lambda result, error: answers.append(error or result.as_numpy("y")[0]))
        for value in VALUES:
            x = kserve_grpc.InferInput("x", [1], "FP32")
            x.set_data_from_numpy(np.array([value], np.float32))
            client.async_stream_infer(MODEL, [x])
        client.stop_stream()
    return [float(answer) for answer in answers]


def ask_http(address: str) -> list[float]:
    """One request, with binary data in both directions."""
    with kserve_http.InferenceServerClient(address) as client:
        x = kserve_http.InferInput("x", [len(VALUES)], "FP32")
        x.set_data_from_numpy(np.array(VALUES, np.float32))
        return client.infer(MODEL, [x]).as_numpy("y").tolist()


def ask_tensorflow(address: str) -> list[float]:
    """One request in JSON, as TensorFlow Serving's documentation has it."""
    url = f"http://{address}/v1/models/{MODEL}:predict"
    body = json.dumps({"instances": VALUES}).encode()
    with urllib.request.urlopen(url, body, timeout=60) as response:
        return json.load(response)["predictions"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grpc", default="127.0.0.1:9000", help="address of --port")
    parser.add_argument("--http", default="127.0.0.1:8000", help="address of --rest_port")
    arguments = parser.parse_args()
    print("KServe, gRPC:          ", ask_grpc(arguments.grpc))
    print("KServe, gRPC stream:   ", ask_stream(arguments.grpc))
    print("KServe, HTTP:          ", ask_http(arguments.http))
    print("TensorFlow Serving:    ", ask_tensorflow(arguments.http))


if __name__ == "__main__":
    main()
