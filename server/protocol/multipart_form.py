"""A form of several parts, as endpoints that take files get it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from server.errors import InvalidRequestError, did_you_mean

__all__ = ["MultipartForm", "UploadedFile"]


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a form. The client chose `filename` and `content_type`, which may be wrong.

    Without a filename it is "".
    """

    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class MultipartForm:
    """The texts and the files of a form by the names of their fields, in the order of the body."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[UploadedFile]] = field(default_factory=dict)

    def fields(self, lists: Collection[str] = ()) -> Mapping[str, str | list[str]]:
        """The texts as the fields of a request, for a pydantic model that converts strings.

        `lists` are the fields that have a list; they may be written `name` or `name[]`, and be
        repeated. An empty text means that its field is not set, since forms send all their fields;
        an empty `name[]` is an empty item.
        Raises InvalidRequestError for another field that is repeated.
        """
        fields: dict[str, str | list[str]] = {}
        for written, texts in self.texts.items():
            name = written.removesuffix("[]")
            filled = [text for text in texts if text]
            if name in lists:
                items = filled if name == written else texts
                fields[name] = [*fields.get(name, ()), *items]
            elif len(texts) > 1:
                raise InvalidRequestError(
                    f"{written} is there {len(texts)} times; it can only be there once", written
                )
            elif filled:
                fields[written] = filled[0]
        return fields

    def only_file(self, name: str) -> UploadedFile:
        """The file of a field that must have exactly one. Raises InvalidRequestError."""
        files = self.files.get(name, [])
        if len(files) == 1:
            return files[0]
        if files:
            problem = f"{name} has {len(files)} files; it must have one"
        elif name in self.texts:
            problem = f"{name} is a text; it must be a file, a part with a filename or a type"
        else:
            problem = f"{name} is missing; it must be a file{did_you_mean(name, self.files)}"
        raise InvalidRequestError(problem, name)
