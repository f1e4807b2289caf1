"""Times to wait and times that passed are measured with a clock that nobody sets."""

import re

from support.imports import modules

WALL_CLOCK = re.compile(r"\btime\.time\(\)|\bfrom time import .*\btime\b|\bdatetime\.now\(")
# Shown to somebody, and not compared with another time.
DATES = re.compile(r"(int|round)\(time\.time\(\)(, \d)?\)|datetime\.now\(UTC\)\.isoformat\(")
# strftime_now of chat templates.
TEMPLATES = "calculators.chat_template."


def test_the_wall_clock_gives_dates_only() -> None:
    texts = {module: path.read_text(encoding="utf-8") for module, path in modules()}
    found = [module for module in texts if WALL_CLOCK.search(DATES.sub("", texts[module]))]
    assert [module for module in found if not module.startswith(TEMPLATES)] == []


def test_a_duration_by_the_wall_clock_would_be_found() -> None:
    assert WALL_CLOCK.search("start = time.time()")
    assert not WALL_CLOCK.search(DATES.sub("", "created=int(time.time()),"))
