"""Where an event ends, however a stream is cut and its lines end."""

import pytest

from server.api.replicas.event_relay import EventBoundary

LINES = ["event: a", "data: 1", "", ": note", "", "data: 2"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_an_event_ends_with_an_empty_line(end: str, size: int) -> None:
    boundary = EventBoundary()
    assert boundary.is_at_end
    whole = (end.join(LINES) + end).encode()
    for start in range(0, len(whole), size):
        boundary.note(whole[start : start + size])
    assert not boundary.is_at_end
    boundary.note(end.encode())
    assert boundary.is_at_end
    boundary.note(b"data")
    assert not boundary.is_at_end
