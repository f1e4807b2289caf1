"""What this process may take of the machine, where several processes divide it."""

__all__ = ["MACHINE_SHARE"]


class MachineShare:
    """`memory_bytes` is None, and `num_processes` 1, where the machine is not divided."""

    def __init__(self) -> None:
        self.num_processes = 1
        self.memory_bytes: int | None = None


MACHINE_SHARE = MachineShare()
