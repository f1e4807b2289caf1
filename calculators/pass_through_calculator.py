"""The simplest node: what comes in goes out."""

import asyncio

from server.graph import Calculator, Contract, NodeConfig, OpenContext, ProcessContext, Tag

__all__ = ["PassThroughCalculator"]

ANYTHING: Tag[object] = Tag("", object)


class PassThroughCalculator(Calculator):
    """Passes packets of any type on unchanged, from each input to the output of the same tag."""

    contract = Contract(inputs=(ANYTHING,), outputs=(ANYTHING,))

    @classmethod
    def contract_for(cls, node: NodeConfig) -> Contract:
        """Any tags, each for an input and an output."""
        tags = tuple(Tag(tag, object) for tag in node.input_tags)
        return Contract(inputs=tags, outputs=tags) if tags else cls.contract

    def open(self, cc: OpenContext) -> None:
        """Note the tags."""
        self._tags = tuple(Tag(tag, object) for tag in cc.ports.inputs) or (ANYTHING,)

    async def process(self, cc: ProcessContext) -> None:
        """Pass on the packets of one request."""

        async def pass_on(tag: Tag[object]) -> None:
            output = cc.output(tag)
            async for packet in cc.input(tag):
                await output.send(packet)

        async with asyncio.TaskGroup() as group:
            for tag in self._tags:
                group.create_task(pass_on(tag))
