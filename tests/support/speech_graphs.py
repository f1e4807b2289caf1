"""Graphs of speech models as OpenVINO Model Server's exporter writes them."""

from pathlib import Path

SPEECH2TEXT = """# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"
node {{
  name: "S2tExecutor"
  input_side_packet: "STT_NODE_RESOURCES:s2t_servable"
  calculator: "S2tCalculator"
  input_stream: "LOOPBACK:loopback"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  output_stream: "LOOPBACK:loopback"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  input_stream_info: {{
    tag_index: 'LOOPBACK:0',
    back_edge: true
  }}
  node_options: {{
    [type.googleapis.com / mediapipe.S2tCalculatorOptions]: {{
      models_path: "{models_path}",
      plugin_config: '{{ "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32" }}',
      target_device: "CPU",
      enable_word_timestamps: {words},
      {options}
    }}
  }}
  input_stream_handler {{
    input_stream_handler: "SyncSetInputStreamHandler",
    options {{
      [mediapipe.SyncSetInputStreamHandlerOptions.ext] {{
        sync_set {{
          tag_index: "LOOPBACK:0"
        }}
      }}
    }}
  }}
}}
"""

TEXT2SPEECH = """# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"
node {{
  name: "T2sExecutor"
  input_side_packet: "TTS_NODE_RESOURCES:t2s_servable"
  calculator: "T2sCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  node_options: {{
    [type.googleapis.com / mediapipe.T2sCalculatorOptions]: {{
      models_path: "{models_path}",
      plugin_config: '{{ "NUM_STREAMS": "1" }}',
      target_device: "CPU",
      {options}
    }}
  }}
}}
"""


def transcriber_graph(models: Path, options: str = "", words: str = "true") -> str:
    """A graph for the Whisper model of the fixture speech_models."""
    return SPEECH2TEXT.format(models_path=models / "whisper", options=options, words=words)


def speaker_graph(models: Path, options: str = "") -> str:
    """A graph for its SpeechT5 model."""
    return TEXT2SPEECH.format(models_path=models / "speecht5", options=options)
