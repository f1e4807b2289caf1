"""Bodies of type multipart/form-data (RFC 7578), read while they arrive."""

import asyncio
import warnings
from email.message import Message
from functools import partial

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from server.api.body import BROKEN_FRAMING, BodyTimer, refuse_compression
from server.errors import InvalidRequestError
from server.protocol.multipart_form import MultipartForm, UploadedFile

__all__ = ["read_form"]

FORM = "multipart/form-data"
MAX_PARTS = 200
# Outside the contents of parts: headers, and what may stand before the first boundary.
MAX_LINES = 10_000
MAX_TEXT_BYTES = 2**20
# What is no text is a file, though its part has no filename.
FILE_TYPES = ("application/octet-stream", "audio/", "image/", "video/")
CHUNK_BYTES = 2**16
MAX_NAME_CHARACTERS = 255
# RFC 7578, 4.7 deprecates encodings of parts. Clients that still name quoted-printable send the
# bytes as they are, as with the other three.
PLAIN_ENCODINGS = frozenset({"binary", "8bit", "7bit", "quoted-printable"})


async def read_form(request: web.Request) -> MultipartForm:
    """The fields and the files of a form.

    Raises InvalidRequestError for what is no form, and HTTPRequestEntityTooLarge for a body above
    the application's limit.
    """
    refuse_compression(request)
    if request.content_type != FORM:
        found = request.headers.get("Content-Type", "none")[:MAX_NAME_CHARACTERS]
        raise InvalidRequestError(f"the Content-Type must be {FORM}, found {found!r}")
    form = MultipartForm()
    try:
        await _read_parts(MultipartReader(request.headers, _LimitedBody(request)), form)
    except RequestPayloadError as error:
        raise InvalidRequestError(BROKEN_FRAMING) from error
    except (ValueError, RuntimeError, HttpProcessingError) as error:
        # Whatever aiohttp finds wrong. Its messages repeat the body.
        reason = " ".join(str(error).split())[:MAX_NAME_CHARACTERS]
        raise InvalidRequestError(f"the body is no {FORM}: {reason}") from error
    return form


async def _read_parts(reader: MultipartReader, form: MultipartForm) -> None:
    num_parts = 0
    while (part := await reader.next()) is not None:
        num_parts += 1
        if num_parts > MAX_PARTS:
            raise InvalidRequestError(f"the body has more than {MAX_PARTS} parts")
        if not isinstance(part, BodyPartReader):
            raise InvalidRequestError(f"part {num_parts} is of several parts itself")
        name, filename = _names(part)
        if not name:
            problem = "has no name in its header Content-Disposition"
            raise InvalidRequestError(f"part {num_parts} of the body {problem}")
        encoding = part.headers.get("Content-Transfer-Encoding", "binary")
        if encoding.lower() not in PLAIN_ENCODINGS:
            problem = f"Content-Transfer-Encoding {encoding[:MAX_NAME_CHARACTERS]!r}"
            raise InvalidRequestError(f"{name}: {problem} is not supported", name)
        content_type = part.headers.get("Content-Type", "").lower()
        if filename is None and not content_type.startswith(FILE_TYPES):
            form.texts.setdefault(name, []).append(await _read_text(part, name))
        else:
            form.files.setdefault(name, []).append(await _read_file(part, filename or ""))


def _names(part: BodyPartReader) -> tuple[str, str | None]:
    """The name of the field, and the file's, with characters that UTF-8 can write."""
    disposition = part.headers.get("Content-Disposition", "")
    header = Message()
    header["Content-Disposition"] = disposition.encode(errors="surrogateescape").decode(
        errors="replace"
    )
    name = header.get_param("name", "", "content-disposition")
    filename = header.get_filename()
    text = name if isinstance(name, str) else name[2]
    return text[:MAX_NAME_CHARACTERS], None if filename is None else filename[:MAX_NAME_CHARACTERS]


async def _read_text(part: BodyPartReader, name: str) -> str:
    data = bytearray()
    while chunk := await part.read_chunk(CHUNK_BYTES):
        data += chunk
        if len(data) > MAX_TEXT_BYTES:
            raise InvalidRequestError(f"{name} is longer than {MAX_TEXT_BYTES} bytes", name)
    charset = part.get_charset("utf-8")
    try:
        return data.decode(charset)
    except (UnicodeDecodeError, LookupError) as error:
        problem = f"is not text in the character set {charset[:MAX_NAME_CHARACTERS]!r}"
        raise InvalidRequestError(f"{name} {problem}", name) from error


async def _read_file(part: BodyPartReader, filename: str) -> UploadedFile:
    chunks = []
    while chunk := await part.read_chunk(CHUNK_BYTES):
        chunks.append(chunk)
    # In a thread, as a gigabyte takes a second to copy.
    content = await asyncio.to_thread(b"".join, chunks)
    content_type = part.headers.get("Content-Type", "application/octet-stream")
    return UploadedFile(filename, content_type[:MAX_NAME_CHARACTERS], content)


class _LimitedBody(StreamReader):
    """The body of a request. Reading it fails with status 413 above the application's limit.

    aiohttp limits the size of a part, and only while it reads all of it at once.
    """

    def __init__(self, request: web.Request) -> None:
        self._body = request.content
        self._body_timer = BodyTimer(request)
        self._limit = request.client_max_size
        self._num_lines = 0
        self._check(request.content_length or 0)

    async def read(self, n: int = -1) -> bytes:
        return self._counted(await self._body_timer.limit(lambda: self._body.read(n)))

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        self._num_lines += 1
        if self._num_lines > MAX_LINES:
            raise ValueError(f"it has more than {MAX_LINES} lines outside its parts")
        read = partial(self._body.readline, max_line_length=max_line_length)
        return self._counted(await self._body_timer.limit(read))

    def at_eof(self) -> bool:
        return self._body.at_eof()

    def unread_data(self, data: bytes) -> None:
        # Deprecated, but the reader of parts, which is not, calls it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._body.unread_data(data)

    def _counted(self, data: bytes) -> bytes:
        self._check(self._body.total_bytes)
        return data

    def _check(self, size: int) -> None:
        if 0 < self._limit < size:
            raise web.HTTPRequestEntityTooLarge(self._limit, size)
