"""The imports between the product's modules. As a script: prints the rooms, floor by floor."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("server", "calculators", "export_models")


def modules(root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """Every module of the product: its dotted name and its file."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found.add(node.module or "")
    return found


def room_of(module: str) -> str:
    """`server.engine` for a module inside it, `server.errors` for that file, `calculators`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "server" else parts[0]


def arrows() -> dict[str, set[str]]:
    """Room -> the other rooms that its files import."""
    found: dict[str, set[str]] = {room_of(module): set() for module, _ in modules()}
    for module, path in modules():
        for imported in imports_of(path):
            if imported.split(".")[0] in PACKAGES and room_of(imported) in found:
                found[room_of(module)].add(room_of(imported))
    return {room: targets - {room} for room, targets in found.items()}


def floors() -> dict[str, int]:
    """Room -> its floor: one above the highest room that it imports. Raises CycleError."""
    above = arrows()
    found: dict[str, int] = {}
    for room in TopologicalSorter(above).static_order():
        found[room] = 1 + max((found[target] for target in above[room]), default=0)
    return found


def _print_picture() -> None:
    by_room, heights = arrows(), floors()
    for room in sorted(by_room, key=lambda name: (-heights[name], name)):
        print(f"{heights[room]}  {room} -> {', '.join(sorted(by_room[room])) or '-'}")
    num_arrows = sum(map(len, by_room.values()))
    print(f"{len(by_room)} rooms, {max(heights.values())} floors, {num_arrows} arrows")


if __name__ == "__main__":
    _print_picture()
