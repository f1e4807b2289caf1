from calculators.pass_through_calculator import PassThroughCalculator
from server.graph import parse_graph_config, validate
from server.graph.testing import CalculatorRunner


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
