"""The simplest node: what comes in goes out."""

from server.graph import Calculator, Contract, ProcessContext, Tag

__all__ = ["PassThroughCalculator"]

ANYTHING: Tag[object] = Tag("", object)


class PassThroughCalculator(Calculator):
    """Passes packets of any type on unchanged."""

    contract = Contract(inputs=(ANYTHING,), outputs=(ANYTHING,))

    async def process(self, cc: ProcessContext) -> None:
        """Pass on the packets of one request."""
        output = cc.output(ANYTHING)
        async for packet in cc.input(ANYTHING):
            await output.send(packet)
