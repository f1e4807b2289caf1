"""The options of OpenVINO Model Server's graphs, and its rules for them."""

from pathlib import Path
from typing import Any

import pytest

from calculators.image_gen_calculator import ImageGenCalculator
from calculators.media.image_options import AdapterMode, ImageGenCalculatorOptions
from server.errors import GraphValidationError
from server.graph import parse_graph_config, validate
from server.payloads import ImageSize

GRAPH = """# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"

node: {{
  name: "ImageGenExecutor"
  calculator: "ImageGenCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "IMAGE_GEN_NODE_RESOURCES:pipes"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  node_options: {{
    [type.googleapis.com / mediapipe.ImageGenCalculatorOptions]: {{
      models_path: "./"
      {options}
    }}
  }}
}}
"""


def read(options: str) -> ImageGenCalculatorOptions:
    graph = parse_graph_config(GRAPH.format(options=options), "graph.pbtxt")
    node = validate(graph, Path.cwd()).nodes[0]
    assert node.calculator_class is ImageGenCalculator
    found = node.options
    assert isinstance(found, ImageGenCalculatorOptions)
    return found


def test_all_options_of_model_server() -> None:
    options = read(
        """device: "  GPU.0   MULTI:GPU.0,GPU.1   AUTO  ",
        plugin_config: '{"NUM_STREAMS": 2}',
        max_resolution: "512x256",
        default_resolution: "256x256",
        max_num_images_per_prompt: 4,
        default_num_inference_steps: 10,
        max_num_inference_steps: 50,
        lora_adapters { alias: "pokemon" path: "p.safetensors" }
        lora_adapters { alias: "anime" path: "/a.safetensors" alpha: 0.5 mode: DYNAMIC }
        composite_lora_adapters {
          alias: "blend"
          components { adapter_alias: "pokemon" alpha: 0.7 }
          components { adapter_alias: "anime" }
        }"""
    )
    assert options.devices == ("GPU.0", "MULTI:GPU.0,GPU.1", "AUTO")
    assert (options.max_size, options.default_size) == (ImageSize(512, 256), ImageSize(256, 256))
    assert (options.max_num_images, options.default_num_steps) == (4, 10)
    assert [(a.alias, a.alpha, a.mode) for a in options.lora_adapters] == [
        ("pokemon", 1.0, AdapterMode.DYNAMIC),
        ("anime", 0.5, AdapterMode.DYNAMIC),
    ]
    [blend] = options.composite_lora_adapters
    assert [(c.adapter_alias, c.alpha) for c in blend.components] == [
        ("pokemon", 0.7),
        ("anime", None),
    ]


def test_the_defaults_of_model_server() -> None:
    options = read("")
    assert options.devices == ("CPU", "CPU", "CPU")
    assert (options.max_size, options.default_size) == (ImageSize(4096, 4096), None)
    assert (options.max_num_images, options.default_num_steps) == (10, 50)
    assert options.static_size is None


def test_several_sizes() -> None:
    options = read('resolution: "  128x256  128x300 512x1024        1000x1000  "')
    sizes = [(128, 256), (128, 300), (512, 1024), (1000, 1000)]
    assert list(options.resolutions) == sizes
    assert (options.static_size, options.default_size) == (None, sizes[0])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ('default_resolution: "4097x256"', "default_resolution 4097x256 exceeds max_resolution"),
        ('max_resolution: "(4096x4096)"', "is not in correct format - WxH"),
        ('max_resolution: "auto"', "is not in correct format - WxH"),
        ('max_resolution: "0x5"', "values must be greater than 0"),
        ('resolution: "auto"', "is not in correct format - WxH"),
        ('resolution: " "', "resolution is empty"),
        ("plugin_config: 'NUM_STREAMS=2'", "plugin_config is not JSON"),
        ("guidance_scale: 7.2", "guidance_scale needs a resolution of one size"),
        ("num_images_per_prompt: 7", "num_images_per_prompt needs a resolution of one size"),
        ('resolution: "512x512 8x8" guidance_scale: 7', "guidance_scale needs a resolution of one"),
        ('resolution: "512x512 8x8" max_resolution: "8x8"', "resolution and max_resolution"),
        ('resolution: "512x512 8x8" default_resolution: "9x9"', "9x9 is not among the sizes"),
        ('resolution: "512x512" max_num_images_per_prompt: 7', "max_num_images_per_prompt cannot"),
        ('resolution: "512x512 8x8 512x512"', "names a size twice"),
        ('resolution: "512x512 1024x10x24"', "is not in correct format - WxH"),
        ('device: "NPU"', "device NPU needs one resolution"),
        ('device: " GPU MULTI:GPU.0,GPU.1 NPU " resolution: "8x8 9x9"', "device NPU needs one"),
        ('device: "GPU CPU"', "names 2 devices; possible: 1 or 3"),
        ('device: "GPU CPU GPU CPU"', "names 4 devices; possible: 1 or 3"),
        ("max_num_inference_steps: 0", "max_num_inference_steps is 0; it must be at least 1"),
        (
            'lora_adapters { alias: "a" path: "p" } lora_adapters { alias: "a" path: "q" }',
            "alias 'a'",
        ),
        (
            'lora_adapters { alias: "a" path: "p" mode: FUSE } '
            'lora_adapters { alias: "b" path: "q" }',
            "the modes DYNAMIC and FUSE; all must have the same",
        ),
        (
            'lora_adapters { alias: "a" path: "p" } '
            'composite_lora_adapters { alias: "c" components { adapter_alias: "b" } }',
            "composite adapter 'c' names the adapter 'b'; possible: a",
        ),
        ('composite_lora_adapters { alias: "c" }', "composite adapter 'c' has no components"),
    ],
)
def test_what_model_server_refuses(options: Any, problem: str) -> None:
    with pytest.raises(GraphValidationError) as error:
        read(options)
    assert problem in str(error.value)
