"""Turns grammars into constraints for one model, in a thread of its own."""

import asyncio
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from calculators.guided.constraint import GrammarConstraint
from calculators.guided.grammar import TOOLS, Grammar, GrammarError
from calculators.guided.repeated_keys import QuoteTokens
from calculators.text.byte_table import ByteTable
from server.errors import ModelNotReadyError

__all__ = ["GrammarCompiler"]

# llguidance follows a schema recursively; the largest schema that json_rule allows needs a fifth.
STACK_BYTES = 64 * 2**20
# Each optional property that may come next has four, and json_rule allows 2000 objects.
MAX_ITEMS_IN_ROW = 10_000
MAX_PROBLEM_CHARACTERS = 300
# An agent sends the same tools with every request.
MAX_CACHED_GRAMMARS = 64
MAX_CACHED_CHARACTERS = 2**21
PLACE = re.compile(r"at (\d+)\(\d+\): ")
# The model may write a forced text in any tokens, as with other grammar libraries. Otherwise
# llguidance would ask the tokenizer for its tokens, and could get a special token of that name.
HEADER = '%llguidance {"no_forcing": true}\n'


class GrammarCompiler:
    """Compiles Lark grammars, as llguidance extends them, for the tokens of one model.

    Its tables of the vocabulary are made at the first use. One grammar is compiled at a time: a
    large one delays other grammars, not the answers without one. The last ones are kept.
    """

    def __init__(self, table: ByteTable, vocab_size: int, eos_token_ids: Collection[int]) -> None:
        self._table = table
        names = (raw.decode("utf-8", "replace") for raw in table.special_bytes.values())
        self._special_names = frozenset(names)
        self._vocab_size = vocab_size
        self._eos_token_ids = sorted(i for i in eos_token_ids if i < vocab_size)
        self._limits = LLParserLimits(max_items_in_row=MAX_ITEMS_IN_ROW, verbose_errors=False)
        self._tokenizers: dict[frozenset[str], LLTokenizer] = {}
        self._quotes: dict[frozenset[str], QuoteTokens] = {}
        self._compiled = OrderedDict[Grammar, GrammarConstraint]()
        self._thread: ThreadPoolExecutor | None = None
        self._is_closed = False

    async def compile(self, make_grammar: Callable[[], Grammar]) -> GrammarConstraint:
        """Compile what `make_grammar` returns; it is called in the thread.

        Raises InvalidRequestError for a grammar that is wrong, too complex, or allows nothing.
        """
        if self._is_closed:
            raise ModelNotReadyError("the model is being unloaded")
        if self._thread is None:
            self._thread = _start_thread()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._compile, make_grammar)

    def close(self) -> None:
        """Let the thread end after the grammars that it has been given."""
        self._is_closed = True
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    def _compile(self, make_grammar: Callable[[], Grammar]) -> GrammarConstraint:
        grammar = make_grammar()
        if not self._eos_token_ids:
            raise GrammarError(
                grammar.field, "this model has no end token, which such an answer needs"
            )
        constraint = self._compiled.pop(grammar, None)
        if constraint is None:
            constraint = self._compile_new(grammar)
        self._keep(grammar, constraint)
        return constraint.fork()

    def _keep(self, grammar: Grammar, constraint: GrammarConstraint) -> None:
        """Keep a grammar as the newest one, and forget the oldest ones where there are too many."""
        self._compiled[grammar] = constraint
        num_characters = sum(len(kept.lark) for kept in self._compiled)
        while len(self._compiled) > MAX_CACHED_GRAMMARS or num_characters > MAX_CACHED_CHARACTERS:
            oldest, _ = self._compiled.popitem(last=False)
            num_characters -= len(oldest.lark)

    def _compile_new(self, grammar: Grammar) -> GrammarConstraint:
        matcher = LLMatcher(
            self._tokenizer_for(grammar.shown),
            HEADER + grammar.lark,
            log_level=0,
            limits=self._limits,
        )
        if matcher.is_error():
            raise _explain(grammar, matcher.get_error())
        quotes = self._quotes_for(grammar.shown) if grammar.is_json else None
        return GrammarConstraint(matcher, self._vocab_size, grammar.field, quotes)

    def _quotes_for(self, shown: frozenset[str]) -> QuoteTokens:
        shown &= self._special_names
        if shown not in self._quotes:
            self._quotes[shown] = QuoteTokens(self._table.showing(shown), self._vocab_size)
        return self._quotes[shown]

    def _tokenizer_for(self, shown: frozenset[str]) -> LLTokenizer:
        shown &= self._special_names
        if shown not in self._tokenizers:
            table = self._table.showing(shown)
            vocabulary = _Vocabulary(table, self._vocab_size, self._eos_token_ids)
            self._tokenizers[shown] = LLTokenizer(vocabulary, eos_token=self._eos_token_ids)
        return self._tokenizers[shown]


class _Vocabulary(TokenizerWrapper):
    """The tokens of a model, for llguidance, whose constructor takes a tokenizer object."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, table: ByteTable, vocab_size: int, eos_token_ids: Sequence[int]) -> None:
        special = {i: raw for i, raw in table.special_bytes.items() if not table.lookup(i)}
        self.tokens = [special.get(i, table.lookup(i)) for i in range(vocab_size)]
        self.special_token_ids = [i for i in {*special, *eos_token_ids} if i < vocab_size]
        self.eos_token_id = eos_token_ids[0]

    def __call__(self, text: str) -> list[int]:
        """Never called: llguidance tokenizes only texts that it forces."""
        raise AssertionError(f"nothing is forced, but {text!r} was to be tokenized")


def _start_thread() -> ThreadPoolExecutor:
    """A pool of one thread with a stack that recursion cannot exhaust."""
    pool = ThreadPoolExecutor(1, "grammar-compiler")
    previous = threading.stack_size(STACK_BYTES)
    try:
        pool.submit(int).result()
    finally:
        threading.stack_size(previous)
    return pool


def _explain(grammar: Grammar, error: str) -> GrammarError:
    problem = _describe(error)
    place = PLACE.match(error)
    # The header is the first line.
    line = int(place[1]) - 2 if place else len(grammar.tool_names)
    if line < len(grammar.tool_names):
        return GrammarError(TOOLS, f"the parameters of {grammar.tool_names[line]!r}: {problem}")
    return GrammarError(grammar.field, problem)


def _describe(error: str) -> str:
    """llguidance's message, without line and column of a grammar that the client never saw."""
    if error.startswith("panic: "):
        return "it is too complex"
    problem = PLACE.sub("", error.partition("\n   1 | ")[0].partition("<non-verbose/>")[0])
    for prefix in ("failed to compile JSON schema: ", 'failed to parse "%json": '):
        problem = problem.rpartition(prefix)[2]
    problem = " ".join(problem.split())
    return problem if len(problem) <= MAX_PROBLEM_CHARACTERS else _shorten(problem)


def _shorten(problem: str) -> str:
    """Cut in the middle: a message first quotes a regex, then says what is wrong with it."""
    half = MAX_PROBLEM_CHARACTERS // 2
    return f"{problem[:half]} ... {problem[-half:]}"
