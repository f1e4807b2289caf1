"""The dataflow framework: the base classes of calculators, and the graphs that run them.

It knows no LLM and no HTTP. Everything above it may import it.
"""

from server.graph.calculator import Calculator
from server.graph.config import GraphConfig, NodeConfig
from server.graph.containment import failure_of
from server.graph.context import OpenContext, ProcessContext
from server.graph.contract import Contract, Tag
from server.graph.graph import Graph
from server.graph.observing.observation import RUN_OBSERVER, NodePhases
from server.graph.plugins import PluginGroup, PluginInfo, UnknownPluginError, list_plugins
from server.graph.queues.admission import Admission
from server.graph.queues.request_queue import (
    UNCOUNTED,
    QueueDefaults,
    QueueLimits,
    RequestQueue,
    Ticket,
)
from server.graph.queues.turn_gate import TurnGate
from server.graph.registry import calculator_file, list_calculators
from server.graph.run import GraphRun
from server.graph.servables import Servables, ServedGraph
from server.graph.served_names import ServedNames
from server.graph.services import Services
from server.graph.stream import EndOfStream, InputStream, OutputStream, StreamClosed
from server.graph.subgraph import Subgraph
from server.graph.text.options import UInt64
from server.graph.text.parser import load_graph_config, parse_graph_config
from server.graph.text.writer import quote, write_graph_config
from server.graph.validation.validation import ValidatedGraph, validate

__all__ = [
    "RUN_OBSERVER",
    "UNCOUNTED",
    "Admission",
    "Calculator",
    "Contract",
    "EndOfStream",
    "Graph",
    "GraphConfig",
    "GraphRun",
    "InputStream",
    "NodeConfig",
    "NodePhases",
    "OpenContext",
    "OutputStream",
    "PluginGroup",
    "PluginInfo",
    "ProcessContext",
    "QueueDefaults",
    "QueueLimits",
    "RequestQueue",
    "Servables",
    "ServedGraph",
    "ServedNames",
    "Services",
    "StreamClosed",
    "Subgraph",
    "Tag",
    "Ticket",
    "TurnGate",
    "UInt64",
    "UnknownPluginError",
    "ValidatedGraph",
    "calculator_file",
    "failure_of",
    "list_calculators",
    "list_plugins",
    "load_graph_config",
    "parse_graph_config",
    "quote",
    "validate",
    "write_graph_config",
]
