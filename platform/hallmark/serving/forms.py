"""Forms with photographs, read as they come in: to disk beyond a megabyte a file, to memory when their turn comes."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from hallmark.data.preprocess import Box
from hallmark.data.table import read_box
from hallmark.errors import DecodeError, HallmarkError
from hallmark.serving.stages import Query

_FIELDS_ALLOWED = 64
_TEXT_BYTES = 64 * 1024
_LONGEST_TEXT = 200
_NAME_SHOWN = 120


class FieldError(HallmarkError):
    """A field of the form is missing, unknown or wrong."""

    http_status = 422
    title = "Invalid request"
    reason = "invalid_field"


@dataclass(frozen=True)
class Upload:
    """A file of a form."""

    name: str
    _file: UploadFile

    async def read(self) -> bytes:
        """All of it."""
        await self._file.seek(0)
        return await self._file.read()


@dataclass(frozen=True)
class Form:
    """A form that was read."""

    photographs: list[Upload]
    _texts: Mapping[str, list[str]]

    def text(self, name: str, default: str | None = None) -> str:
        """A field of one line.

        Raises:
            FieldError: it is missing and has no default, is there twice, or holds what no name should.
        """
        values = self._texts.get(name, [])
        if len(values) > 1:
            raise FieldError(f"{name}: found it {len(values)} times; wanted it once")
        value = values[0].strip() if values else ""
        if not value:
            if default is None:
                raise FieldError(f"{name}: missing; it must be given")
            return default
        check_name(name, value)
        return value

    def boxes(self) -> list[Box | None]:
        """What of each photograph is asked about.

        Raises:
            FieldError: there is neither none, one, nor one a photograph.
            DataError: one is no box.
        """
        told = self._texts.get("box", [])
        boxes = [read_box(box[:_NAME_SHOWN], "box") for box in told] or [None]
        if len(boxes) not in (1, len(self.photographs)):
            wanted = "none, one for all, or one a photograph"
            raise FieldError(f"box: found {len(boxes)} for {len(self.photographs)} photographs; wanted {wanted}")
        return boxes * len(self.photographs) if len(boxes) == 1 else boxes

    def queries(self) -> list[Query]:
        """The photographs, each with its box."""
        return [Query(*pair) for pair in zip(self.photographs, self.boxes(), strict=True)]


def check_name(field: str, value: str) -> None:
    """Refuse what cannot be the name of a product, part or item.

    Raises:
        FieldError: it is too long, or not printable.
    """
    if len(value) > _LONGEST_TEXT or not value.isprintable():
        raise FieldError(
            f"{field}: found {value[:_NAME_SHOWN]!r} ({len(value)} characters); wanted at most {_LONGEST_TEXT}, all "
            "of them printable"
        )


@asynccontextmanager
async def read_form(request: Request, fields: Sequence[str], most: int, max_bytes: int) -> AsyncIterator[Form]:
    """The form of a request; its files are gone afterwards.

    Args:
        request: whose body has not been read.
        fields: of text, that there may be beside `photograph`.
        most: photographs.
        max_bytes: of one photograph.

    Raises:
        HTTPException: 415 where it is no form, 400 where it cannot be read.
        FieldError: a field is unknown, or there is no photograph or too many.
        DecodeError: a photograph has too many bytes.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "multipart/form-data":
        wanted = "wanted multipart/form-data with a file in the field `photograph`"
        raise HTTPException(415, f"found {kind[:_NAME_SHOWN] or 'no content type'}; {wanted}")
    data = await _parse(request, most, max_bytes)
    try:
        yield _form(data, fields, most)
    finally:
        await data.close()


async def _parse(request: Request, most: int, max_bytes: int) -> FormData:
    parser = _Parser(request, most, max_bytes)
    try:
        return await parser.parse()
    except MultiPartException as error:
        if parser.too_many:
            raise FieldError(f"photograph: found more than {most} files; wanted at most {most}") from None
        raise HTTPException(400, f"the form cannot be read: {error.message}") from None
    except (HallmarkError, HTTPException, ClientDisconnect):
        raise
    except Exception as error:  # the form is the client's, whatever the parser makes of it
        raise HTTPException(400, f"the form cannot be read: {type(error).__name__}") from None


class _Parser(MultiPartParser):
    """Starlette's, with a limit on the bytes of one file."""

    def __init__(self, request: Request, most: int, max_bytes: int):
        limits = {"max_files": most, "max_fields": _FIELDS_ALLOWED, "max_part_size": _TEXT_BYTES}
        super().__init__(request.headers, request.stream(), **limits)
        self._most, self._max_bytes, self._num_bytes = most, max_bytes, 0

    @property
    def too_many(self) -> bool:
        """Whether there are more files than allowed."""
        return self._current_files > self._most

    def on_part_begin(self) -> None:
        self._num_bytes = 0
        super().on_part_begin()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._num_bytes += end - start
        if self._current_part.file is not None and self._num_bytes > self._max_bytes:
            found = f"found a photograph of more than {self._max_bytes} bytes"
            raise DecodeError("too_many_bytes", f"{found}; wanted at most {self._max_bytes} bytes (max_bytes)")
        super().on_part_data(data, start, end)


def _form(data: FormData, fields: Sequence[str], most: int) -> Form:
    photographs: list[Upload] = []
    texts: dict[str, list[str]] = {}
    for name, value in data.multi_items():
        if name == "photograph":
            if not isinstance(value, UploadFile):
                raise FieldError("photograph: found text; wanted a file, sent with a file name")
            photographs.append(Upload(_shown(value.filename, len(photographs) + 1), value))
        elif name not in fields:
            close = difflib.get_close_matches(name, ["photograph", *fields], n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"wanted photograph, {', '.join(fields)}"
            raise FieldError(f"{name[:_NAME_SHOWN]!r}: unknown field; {hint}")
        elif isinstance(value, UploadFile):
            raise FieldError(f"{name}: found a file; wanted text")
        else:
            texts.setdefault(name, []).append(value)
    if not photographs:
        raise FieldError(f"photograph: found none; wanted 1 to {most} files")
    return Form(photographs, texts)


def _shown(name: str | None, place: int) -> str:
    """A client's file name as it may stand in a message: one printable line."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in (name or ""))[-_NAME_SHOWN:]
    return shown or f"photograph {place}"
