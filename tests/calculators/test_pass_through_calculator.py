from calculators.pass_through_calculator import PassThroughCalculator
from server.graph import Graph, parse_graph_config, validate
from server.graph.testing import CalculatorRunner
from server.models.tensor_borders import with_tensor_borders
from server.payloads import InferRequest
from server.tensors import Tensor


async def test_packets_of_any_type_pass_unchanged():
    packets = ["text", 1, None, object()]
    runner = CalculatorRunner(PassThroughCalculator)
    runner.open()
    assert (await runner.run({"": packets}))[""] == packets
    runner.close()


def test_the_type_of_a_border_passes_through(tmp_path):
    source = """
        input_stream: "PROMPT:prompt"
        output_stream: "TEXT:text"
        node { calculator: "calculators.pass_through_calculator:PassThroughCalculator"
               input_stream: "prompt" output_stream: "copy" }
        node { calculator: "./upper.py:Upper"
               input_stream: "TEXT:copy" output_stream: "TEXT:text" }
    """
    (tmp_path / "upper.py").write_text(
        "from server.graph import Calculator, Contract, Tag\n"
        "class Upper(Calculator):\n"
        "    contract = Contract(inputs=(Tag('TEXT', str),), outputs=(Tag('TEXT', str),))\n"
    )
    graph = validate(parse_graph_config(source, "graph.pbtxt"), tmp_path)
    assert (graph.input.type, graph.output.type) == (str, str)


async def test_each_tag_is_a_path_of_its_own(tmp_path):
    source = """
        input_stream: "OVTENSOR:in"
        input_stream: "OVTENSOR1:in1"
        output_stream: "OVTENSOR:out"
        output_stream: "OVTENSOR1:out1"
        node {
          calculator: "PassThroughCalculator"
          input_stream: "OVTENSOR:in" input_stream: "OVTENSOR1:in1"
          output_stream: "OVTENSOR:out" output_stream: "OVTENSOR1:out1"
        }
    """
    config = with_tensor_borders(parse_graph_config(source, "graph.pbtxt"))
    graph = await Graph.load(config, tmp_path, "pass")
    tensors = (Tensor("in1", "FP32", (1,), bytes(4)), Tensor("in", "INT8", (2,), b"ab"))
    async with graph.start_run(InferRequest(tensors)) as run:
        response = await anext(run)
    await graph.close()
    found = [(tensor.name, bytes(tensor.data)) for tensor in response.outputs]
    assert found == [("out", b"ab"), ("out1", bytes(4))]
