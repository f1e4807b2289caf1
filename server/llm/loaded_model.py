"""A model in this process, behind a graph: what the Python classes of all tasks share."""

import threading
import weakref
from pathlib import Path
from typing import Any, ClassVar, Self

from server.errors import GenerationError
from server.graph import Graph
from server.llm.graph_source import GraphKind, load_graph
from server.llm.loop_thread import LoopThread

__all__ = ["LoadedModel"]


class LoadedModel:
    """A loaded graph that any thread may call; `with ...` or `close` frees the model.

    A subclass states the `kind` of its graph and turns its methods into packets.

    `model_path` is the folder that export_model wrote, or a graph.pbtxt. The folder's graph.pbtxt
    is used; a folder that has none gets the default graph of the kind. `options` replace what the
    graph says: every option of its nodes can be given; `plugin_config` may be a mapping.

    Raises ModelLoadError, or the GraphError or ConfigError that tells what is wrong.
    """

    kind: ClassVar[GraphKind]

    def __init__(self, model_path: str | Path, **options: Any) -> None:
        self._loop = LoopThread(type(self).__name__.lower())
        try:
            self._graph = self._loop.run(load_graph(Path(model_path), options, self.kind))
        except BaseException:
            self._loop.close()
            raise
        # Also runs when the interpreter ends: OpenVINO aborts a process that still infers then.
        self._finalizer = weakref.finalize(self, _free, self._loop, self._graph)

    def close(self) -> None:
        """Stop what runs and free the model; harmless a second time."""
        if self._finalizer.detach() is not None:
            _close(self._loop, self._graph)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_one(self, packet: object) -> Any:
        """Run the graph on one packet; its first answer, of the kind's output type.

        Raises the error of the node that failed, and ModelNotReadyError after `close`.
        """
        return self._loop.run(_first_answer(self._graph, packet))


async def _first_answer(graph: Graph, packet: object) -> object:
    async with graph.start_run(packet) as run:
        async for answer in run:
            return answer
    raise GenerationError("the graph ended without an answer")


def _free(loop: LoopThread, graph: Graph) -> None:
    """Close a model that nobody has closed.

    The garbage collector may call this in any thread, also in one that closing waits for.
    """
    if threading.current_thread() is threading.main_thread():
        _close(loop, graph)
    else:
        # The end of the interpreter waits for it, which it would not for a daemon, as the thread
        # that starts it may be.
        closing = threading.Thread(
            target=_close, args=(loop, graph), name="model-close", daemon=False
        )
        closing.start()


def _close(loop: LoopThread, graph: Graph) -> None:
    loop.run(graph.close())
    loop.close()
