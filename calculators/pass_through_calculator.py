"""The simplest node: what comes in goes out."""

from server.graph import Calculator, Contract, ProcessContext, Tag

__all__ = ["PassThroughCalculator"]

ANY_IN: Tag[object] = Tag("", object)
ANY_OUT: Tag[object] = Tag("", object)


class PassThroughCalculator(Calculator):
    """Passes packets of any type on unchanged."""

    contract = Contract(inputs=(ANY_IN,), outputs=(ANY_OUT,))

    async def process(self, cc: ProcessContext) -> None:
        """Pass on the packets of one request."""
        output = cc.output(ANY_OUT)
        async for packet in cc.input(ANY_IN):
            await output.send(packet)
