"""The groups of the configured models, and which of them could leave."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from server.models.residency.group import Group, GroupKey

if TYPE_CHECKING:
    from server.models.served_model import ServedModel

__all__ = ["Groups"]


class Groups:
    """Groups by the models that are in them now; a reload may move a model to another one."""

    def __init__(self, models: Callable[[], Iterable["ServedModel"]]) -> None:
        self._models = models
        self._groups: dict[GroupKey, Group] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(tuple(self._groups.values()))

    def of(self, model: "ServedModel") -> Group:
        """The group of a model."""
        key = model.config.group
        if key not in self._groups:
            self._groups[key] = Group(key, model.config.is_permanent)
        return self._groups[key]

    def members(self, group: Group) -> list["ServedModel"]:
        """The configured models of a group."""
        return [model for model in self._models() if model.config.group == group.key]

    def find_idle(self, beside: Group | None) -> Group | None:
        """The loaded group without requests that was used least recently, but not this one."""
        idle = [group for group in self._unloadable(beside) if not group.num_requests]
        return min(idle, key=lambda group: group.last_used, default=None)

    def find_busy(self, beside: Group) -> Group | None:
        """The loaded group that has had the longest turn, but not this one."""
        return min(self._unloadable(beside), key=lambda group: group.loaded_at, default=None)

    def forget(self, is_needed: Callable[[Group], bool]) -> None:
        """Drop the groups whose models were removed, unless they are needed."""
        for group in self:
            if not (group.num_requests or self.members(group) or is_needed(group)):
                del self._groups[group.key]

    def _unloadable(self, beside: Group | None) -> list[Group]:
        groups = [group for group in self if not group.is_permanent and group is not beside]
        return [group for group in groups if any(m.is_loaded for m in self.members(group))]
