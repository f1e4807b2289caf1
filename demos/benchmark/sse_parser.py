"""One HTTP/1.1 answer whose body is a stream of server-sent events."""


class SseParser:
    """Cuts one HTTP/1.1 answer into the payloads of its SSE events, however it was split up."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.body = b""
        self._raw = b""
        self._is_chunked = False
        self._num_parsed = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the answer; return the payloads of the events that ended."""
        self._raw += data
        if self.status is None and not self._take_head():
            return []
        if self._is_chunked:
            self._take_chunks()
        else:
            self.body += self._raw
            self._raw = b""
        return self._take_events()

    def _take_head(self) -> bool:
        head, separator, rest = self._raw.partition(b"\r\n\r\n")
        if not separator:
            return False
        self.status = int(head.split(b" ", 2)[1])
        self._is_chunked = b"transfer-encoding: chunked" in head.lower()
        self._raw = rest
        return True

    def _take_chunks(self) -> None:
        while (end_of_size := self._raw.find(b"\r\n")) >= 0:
            start = end_of_size + 2
            end = start + int(self._raw[:end_of_size].split(b";")[0], 16)
            if end == start or len(self._raw) < end + 2:
                return
            self.body += self._raw[start:end]
            self._raw = self._raw[end + 2 :]

    def _take_events(self) -> list[bytes]:
        end = self.body.rfind(b"\n\n")
        if end < self._num_parsed:
            return []
        events = self.body[self._num_parsed : end].split(b"\n\n")
        self._num_parsed = end + 2
        return [event[len(b"data: ") :] for event in events if event.startswith(b"data: ")]
