"""Nodes that run other models of the same server, in OpenVINO Model Server's form."""


def session(packet: str, model: str, version: str = "") -> str:
    """The side packet of another model of the server."""
    wanted = f'servable_version: "{version}"' if version else ""
    return f"""
node {{
  calculator: "OpenVINOModelServerSessionCalculator"
  output_side_packet: "SESSION:{packet}"
  node_options: {{
    [type.googleapis.com / mediapipe.OpenVINOModelServerSessionCalculatorOptions]: {{
      servable_name: "{model}" {wanted}
    }}
  }}
}}
"""


def inference(packet: str, inputs: str, outputs: str, options: str = "") -> str:
    """A node that sends `TAG:stream TAG:stream` to the model of a side packet."""
    ports = [f'input_stream: "{port}"' for port in inputs.split()]
    ports += [f'output_stream: "{port}"' for port in outputs.split()]
    return f"""
node {{
  calculator: "OpenVINOInferenceCalculator"
  input_side_packet: "SESSION:{packet}"
  {" ".join(ports)}
  node_options: {{
    [type.googleapis.com / mediapipe.OpenVINOInferenceCalculatorOptions]: {{ {options} }}
  }}
}}
"""


def named(kind: str, **names: str) -> str:
    """Which tensor of the model each tag is; `kind` is input or output."""
    return " ".join(
        f'tag_to_{kind}_tensor_names {{ key: "{tag}" value: "{name}" }}'
        for tag, name in names.items()
    )
