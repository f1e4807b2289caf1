"""Python nodes around models of transformers, as in OVMS's demos: CLIP and translation with T5."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from support.made_models import make_once, run_python
from support.python_graphs import python_graph, python_node, write_graph
from support.server_process import server_process
from support.session_graphs import inference, named, session
from tritonclient.grpc import InferenceServerClient, InferInput

LABELS = np.array(["cat", "dog", "horse", "computer"])
TEXTS = ["a book under his arm", "he came back with two", "z"]

PREPARE = """
from io import BytesIO

import numpy as np
from PIL import Image
from pyovms import Tensor
from transformers import CLIPProcessor

class OvmsPythonModel:
    def initialize(self, kwargs):
        self.processor = CLIPProcessor.from_pretrained(kwargs["base_path"] + "/processor")

    def execute(self, inputs):
        image, labels = inputs
        words = np.frombuffer(labels.data, labels.datatype)
        found = self.processor(
            text=[f"a photo of a {word}" for word in words],
            images=[Image.open(BytesIO(image))],
            return_tensors="pt",
            padding=True,
        )
        return [
            Tensor("ids_py", np.array(found["input_ids"], np.dtype("q"))),
            Tensor("mask_py", np.array(found["attention_mask"], np.dtype("q"))),
            Tensor("pixels_py", found["pixel_values"].numpy()),
        ]
"""
# The inputs are in the order of their tags: LABELS, LOGITS.
DECIDE = """
import numpy as np
from pyovms import Tensor

class OvmsPythonModel:
    def execute(self, inputs):
        labels, logits = inputs
        scores = np.array(logits, copy=False)
        word = np.frombuffer(labels.data, labels.datatype)[scores[0].argmax()]
        return [Tensor("label", str(word).encode()), Tensor("scores", scores)]
"""
TRANSLATE = """
from pyovms import Tensor
from transformers import AutoTokenizer, T5ForConditionalGeneration, pipeline

class OvmsPythonModel:
    def initialize(self, kwargs):
        folder = kwargs["base_path"] + "/t5"
        model = T5ForConditionalGeneration.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.pipe = pipeline("translation_en_to_fr", model=model, tokenizer=tokenizer)
        return True

    def execute(self, inputs):
        text = bytes(inputs[0]).decode()
        found = self.pipe(text, max_new_tokens=20, num_beams=4)
        return [Tensor("translation", found[0]["translation_text"].encode())]
"""


def converter(source: str, target: str, options: str = "") -> str:
    """As OVMS needs it between Python nodes and models."""
    return f"""
node {{
  calculator: "PyTensorOvTensorConverterCalculator"
  input_stream: "{source}"
  output_stream: "{target}"
  node_options: {{
    [type.googleapis.com/mediapipe.PyTensorOvTensorConverterCalculatorOptions]: {{ {options} }}
  }}
}}
"""


CLASSIFIER = python_graph(
    "OVMS_PY_TENSOR:image OVMS_PY_TENSOR1:labels",
    "OVMS_PY_TENSOR:label OVMS_PY_TENSOR1:scores",
    python_node(
        "prepare",
        "IMAGE:image LABELS:labels",
        "IDS:ids_py MASK:mask_py PIXELS:pixels_py",
        "prepare.py",
    ),
    converter("OVMS_PY_TENSOR:ids_py", "OVTENSOR:ids"),
    converter("OVMS_PY_TENSOR:mask_py", "OVTENSOR:mask"),
    converter("OVMS_PY_TENSOR:pixels_py", "OVTENSOR:pixels"),
    session("session", "clip", "1"),
    inference(
        "session",
        "OVTENSOR:ids OVTENSOR1:mask OVTENSOR2:pixels",
        "OVTENSOR:logits",
        named("input", OVTENSOR="input_ids", OVTENSOR1="attention_mask", OVTENSOR2="pixel_values")
        + named("output", OVTENSOR="logits_per_image"),
    ),
    converter(
        "OVTENSOR:logits",
        "OVMS_PY_TENSOR:logits_py",
        named("output", OVMS_PY_TENSOR="logits_py"),
    ),
    python_node(
        "decide",
        "LOGITS:logits_py LABELS:labels",
        "LABEL:label SCORES:scores",
        "decide.py",
    ),
)
TRANSLATOR = python_graph(
    "OVMS_PY_TENSOR:text",
    "OVMS_PY_TENSOR:translation",
    python_node("pythonNode", "INPUT:text", "OUTPUT:translation"),
)


@pytest.fixture(scope="module")
def models(exporters: None) -> Path:
    """What support/tiny_clip_t5.py makes."""
    maker = Path(__file__).parents[1] / "support" / "tiny_clip_t5.py"
    return make_once("clip_t5", [maker], lambda to: run_python(maker, to))


@pytest.fixture(scope="module")
def client(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a server with both graphs, in a config.json as the demos have it."""
    root = tmp_path_factory.mktemp("demos")
    write_graph(root / "classifier", CLASSIFIER, prepare=PREPARE, decide=DECIDE)
    write_graph(root / "translator", TRANSLATOR, model=TRANSLATE)
    (root / "classifier" / "processor").symlink_to(models / "processor")
    (root / "translator" / "t5").symlink_to(models / "t5")
    clip = {
        "name": "clip",
        "base_path": str(models / "clip"),
        # Else a CPU that can computes in bfloat16, and transformers does not.
        "plugin_config": {"INFERENCE_PRECISION_HINT": "f32"},
    }
    config = {
        "model_config_list": [{"config": clip}],
        "mediapipe_config_list": [
            {"name": "classifier", "graph_path": str(root / "classifier" / "graph.pbtxt")},
            {"name": "translator", "base_path": "translator"},
        ],
    }
    (root / "config.json").write_text(json.dumps(config))
    with (
        server_process("--config_path", root, "--port", "0") as server,
        InferenceServerClient(server.grpc_address) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def expected(models: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((models / "expected.json").read_text())
    return found


def raw(name: str, datatype: str, shape: list[int], data: bytes) -> InferInput:
    """As OVMS's clients send data of their own form."""
    tensor = InferInput(name, shape, datatype)
    tensor._raw_content = data
    return tensor


def test_clip_between_python_nodes(client: Any, models: Path, expected: dict[str, Any]) -> None:
    """The images are sent at the same time."""
    images = [path.read_bytes() for path in sorted(models.glob("*.png"))]
    labels = raw("labels", LABELS.dtype.str, [len(LABELS)], LABELS.tobytes())

    def ask(image: bytes) -> Any:
        return client.infer("classifier", [raw("image", "BYTES", [len(image)], image), labels])

    with ThreadPoolExecutor(len(images)) as threads:
        answers = list(threads.map(ask, images))
    wanted = np.array(expected["scores"])
    words = [str(word) for word in LABELS[wanted.argmax(axis=1)]]
    assert len(set(words)) > 1
    assert [answer.as_numpy("label").tobytes().decode() for answer in answers] == words
    scores = np.concatenate([answer.as_numpy("scores") for answer in answers])
    assert_allclose(scores, wanted, rtol=1e-3, atol=1e-3)


def test_t5_in_a_python_node(client: Any, expected: dict[str, Any]) -> None:
    found = []
    for text in TEXTS:
        answer = client.infer("translator", [raw("text", "BYTES", [len(text)], text.encode())])
        found.append(answer.as_numpy("translation").tobytes().decode())
    assert len(set(found)) == len(TEXTS)
    assert found == expected["translations"]
