"""OpenVINO Model Server's form of an LLM graph: a single node."""

from dataclasses import dataclass, fields

from calculators.detokenizer_calculator import DetokenizerCalculator
from calculators.llm.llm_options import LLMCalculatorOptions
from calculators.llm_executor_calculator import LLMExecutorCalculator
from calculators.output_parser_calculator import (
    OutputParserCalculator,
    OutputParserCalculatorOptions,
)
from calculators.output_parsers import find_parser_problems
from calculators.tokenizer_calculator import TokenizerCalculator, TokenizerCalculatorOptions
from server.graph import Contract, GraphConfig, NodeConfig, Subgraph, Tag, UInt64
from server.payloads import GenerationRequest, TextChunk

__all__ = ["HttpLLMCalculator", "HttpLLMCalculatorOptions"]


@dataclass(frozen=True)
class HttpLLMCalculatorOptions(LLMCalculatorOptions):
    """The options of all nodes that it stands for; Model Server has them in one type."""

    chat_template: str = ""
    chat_template_time_limit_ms: UInt64 = TokenizerCalculatorOptions.chat_template_time_limit_ms
    split_special_tokens: bool = False
    tool_parser: str = ""
    reasoning_parser: str = ""

    def of_executor(self) -> LLMCalculatorOptions:
        """The options of the LLM executor."""
        names = [field.name for field in fields(LLMCalculatorOptions)]
        return LLMCalculatorOptions(**{name: getattr(self, name) for name in names})

    def _find_problems(self) -> list[str]:
        problems = find_parser_problems(
            self.tool_parser,
            self.reasoning_parser,
            is_guided=self.enable_tool_guided_generation,
        )
        return [*problems, *super()._find_problems()]


class HttpLLMCalculator(Subgraph[HttpLLMCalculatorOptions]):
    """Stands for the four nodes of an LLM graph, in Model Server's graphs.

    Model Server's graphs name its side packets; they are accepted and not used.
    """

    contract = Contract(
        inputs=(Tag("HTTP_REQUEST_PAYLOAD", GenerationRequest),),
        outputs=(Tag("HTTP_RESPONSE_PAYLOAD", TextChunk),),
        input_side_packets=(
            Tag("LLM_NODE_RESOURCES", object, optional=True),
            Tag("LLM_NODE_EXECUTION_CONTEXTS", object, optional=True),
        ),
    )

    def expand(self, node_name: str, options: HttpLLMCalculatorOptions) -> GraphConfig:
        """Return tokenizer, executor, detokenizer and output parser, all on one model folder."""
        tokenizer = NodeConfig(
            TokenizerCalculator,
            name="Tokenizer",
            input_streams=("GENERATION_REQUEST:request",),
            output_streams=("PROMPT:prompt",),
            output_side_packets=("TOKENIZER:tokenizer",),
            options=TokenizerCalculatorOptions(
                options.models_path,
                options.chat_template,
                options.chat_template_time_limit_ms,
                options.split_special_tokens,
            ),
        )
        executor = NodeConfig(
            LLMExecutorCalculator,
            name="LLMExecutor",
            input_streams=("PROMPT:prompt",),
            output_streams=("TOKENS:tokens",),
            input_side_packets=("TOKENIZER:tokenizer", "OUTPUT_FORMAT:format"),
            options=options.of_executor(),
        )
        detokenizer = NodeConfig(
            DetokenizerCalculator,
            name="Detokenizer",
            input_streams=("TOKENS:tokens",),
            output_streams=("TEXT:written",),
            input_side_packets=("TOKENIZER:tokenizer", "OUTPUT_FORMAT:format"),
        )
        parser = NodeConfig(
            OutputParserCalculator,
            name="OutputParser",
            input_streams=("PROMPT:prompt", "TEXT:written"),
            output_streams=("TEXT:text",),
            input_side_packets=("TOKENIZER:tokenizer",),
            output_side_packets=("OUTPUT_FORMAT:format",),
            options=OutputParserCalculatorOptions(options.tool_parser, options.reasoning_parser),
        )
        return GraphConfig(
            nodes=(tokenizer, executor, detokenizer, parser),
            input_streams=("HTTP_REQUEST_PAYLOAD:request",),
            output_streams=("HTTP_RESPONSE_PAYLOAD:text",),
        )
