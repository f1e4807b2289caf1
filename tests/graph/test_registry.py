import sys
from pathlib import Path

import pytest
from support import graph_fakes as fakes

from server.graph import list_calculators
from server.graph.plugins import UnknownPluginError, close_names
from server.graph.registry import OVMS_CALCULATORS, resolve_calculator

SOURCE = """
from dataclasses import dataclass
from server.graph import Calculator, Contract
@dataclass
class Options:
    x: int = {value}
class Mine(Calculator[Options]):
    contract = Contract()
class NoContract(Calculator):
    pass
class NotAsync(Calculator):
    contract = Contract()
    def process(self, cc):
        pass
class AsyncOpen(Calculator):
    contract = Contract()
    async def open(self, cc):
        pass
    async def process(self, cc):
        pass
"""


def error(spelling: str, base_path: Path = Path()) -> str:
    with pytest.raises(UnknownPluginError) as caught:
        resolve_calculator(spelling, base_path)
    return str(caught.value)


def test_by_name(register) -> None:
    register(Loud="support.graph_fakes:Upper", Twice="support.graph_fakes:Twice")
    assert resolve_calculator("Loud", Path()) is fakes.Upper
    assert resolve_calculator("Twice", Path()) is fakes.Twice


def test_by_module_and_class() -> None:
    assert resolve_calculator("support.graph_fakes:Upper", Path()) is fakes.Upper


def test_an_unknown_name_suggests_close_ones(register) -> None:
    register(WordCalculator="support.graph_fakes:Words")
    assert error("WordCalculater") == (
        "no installed package registers calculator 'WordCalculater'; did you mean 'WordCalculator'?"
    )
    assert "a file is named './words.py:Class'" in error("words.py")


def test_a_plugin_that_cannot_be_imported_names_its_distribution(register) -> None:
    register("bad-plugin", Broken="no_such_module_anywhere:X", Wrong="support.graph_fakes:Nothing")
    assert "calculator 'Broken' of bad-plugin 1.0 (no_such_module_anywhere:X)" in error("Broken")
    assert "ModuleNotFoundError" in error("Broken")
    assert "AttributeError" in error("Wrong")


def test_a_name_that_two_distributions_register(register) -> None:
    register("first-plugin", Same="support.graph_fakes:Upper")
    register("second-plugin", Same="support.graph_fakes:Words")
    message = error("Same")
    assert "is registered by" in message
    assert "first-plugin 1.0" in message
    assert "second-plugin 1.0" in message
    assert message.endswith("uninstall one, or write 'package.module:Class'")


def test_a_distribution_found_twice_is_no_conflict(register) -> None:
    register("first-plugin", Same="support.graph_fakes:Upper")
    register("first-plugin-again", Same="support.graph_fakes:Upper")
    assert resolve_calculator("Same", Path()) is fakes.Upper


def test_only_what_is_used_is_imported(register, tmp_path: Path) -> None:
    site = register(Used="support.graph_fakes:Upper", Unused="plugin_never_imported:X")
    (site / "plugin_never_imported.py").write_text("raise SystemExit")
    resolve_calculator("Used", Path())
    assert "plugin_never_imported" not in sys.modules


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        (":X", "must be 'Name', 'package.module:Class' or './file.py:Class'"),
        ("support.graph_fakes:", "must be 'Name'"),
        ("no_such_package.module:X", "there is no module 'no_such_package'"),
        ("server.graph.no_such:X", "there is no module 'server.graph.no_such'"),
        ("support.graph_fakes:Uper", "has no 'Uper'; did you mean 'Upper'?"),
        ("support.graph_fakes:Upper.inner", "has no 'inner'"),
        ("support.graph_fakes:NotACalculator", "it must be a subclass of server.graph.Calculator"),
        ("support.graph_fakes:Mode", "it must be a subclass of server.graph.Calculator"),
        ("server.graph:Calculator", "class Calculator states no `contract`"),
        (".relative:X", "importing module '.relative' failed"),
        ("./missing.py:X", "there is no file"),
        ("\0.py:X", "null byte"),
        ("a" * 5000 + ".py:X", "File name too long"),
    ],
)
def test_every_failure_says_which_part_was_wrong(spelling: str, message: str) -> None:
    assert message in error(spelling)


def test_a_module_that_misses_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_thing")
    monkeypatch.syspath_prepend(tmp_path)
    assert "module 'needs_more' imports 'no_such_thing', which is missing" in error("needs_more:X")


def test_files_of_the_same_name_in_two_folders(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "calc.py").write_text(SOURCE.format(value=repr(name)))
    first = resolve_calculator("./calc.py:Mine", tmp_path / "first")
    second = resolve_calculator("./calc.py:Mine", tmp_path / "second")
    assert first is not second
    assert first.options_class().x == "first"
    assert second.options_class().x == "second"
    assert resolve_calculator("../first/calc.py:Mine", tmp_path / "second") is first
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "calc.py"
    path.write_text(SOURCE.format(value=1))
    first = resolve_calculator("./calc.py:Mine", tmp_path)
    assert resolve_calculator("./calc.py:Mine", tmp_path) is first
    path.write_text(SOURCE.format(value=22))
    assert resolve_calculator("./calc.py:Mine", tmp_path).options_class().x == 22


def test_failures_of_files(tmp_path: Path) -> None:
    before = {name for name in sys.modules if name.startswith("calc_")}
    path = tmp_path / "calc.py"
    path.write_text(SOURCE.format(value=1))
    assert "did you mean 'calc.py'?" in error("./cald.py:Mine", tmp_path)
    assert "did you mean 'Mine'?" in error("./calc.py:Min", tmp_path)
    assert "states no `contract`" in error("./calc.py:NoContract", tmp_path)
    assert "NotAsync.process must be an `async def`" in error("./calc.py:NotAsync", tmp_path)
    assert "AsyncOpen.open must be a plain `def`" in error("./calc.py:AsyncOpen", tmp_path)
    path.write_text("def broken(:")
    assert "SyntaxError" in error("./calc.py:Mine", tmp_path)
    path.write_text("1 / 0")
    assert "ZeroDivisionError" in error("./calc.py:Mine", tmp_path)
    assert {name for name in sys.modules if name.startswith("calc_")} == before


def test_list_calculators(register) -> None:
    register("some-plugin", Zz="support.graph_fakes:Upper", Zzz="no_such_module_anywhere:X")
    infos = {info.name: info for info in list_calculators()}
    assert infos["Zz"] == (
        "Zz",
        "Turns text into capitals.",
        "some-plugin 1.0 (support.graph_fakes:Upper)",
    )
    assert infos["Zzz"].description.startswith("unusable: calculator 'Zzz' of some-plugin 1.0")


def test_close_names_of_many() -> None:
    assert close_names("x", []) == "there are none"
    assert close_names("x", map(str, range(1000))) == "there are 1000 others"


@pytest.mark.parametrize(("name", "what"), OVMS_CALCULATORS.items())
def test_a_calculator_of_ovms_that_is_missing_is_named(name: str, what: str) -> None:
    assert error(name) == f"{what}, {name}, is not here yet"


def test_a_third_party_can_add_a_calculator_that_ovms_has(register) -> None:
    register(RerankCalculator="support.graph_fakes:Upper")
    assert resolve_calculator("RerankCalculator", Path()) is fakes.Upper
