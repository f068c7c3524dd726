"""Writing to the gallery: enrolment that may be repeated, retirement, rollback."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import TypeVar

from hallmark.errors import EnrolmentError, GalleryError, HallmarkError, OutputError
from hallmark.gallery.store import Gallery, GalleryWriter, Reference, open_gallery
from hallmark.serving.problems import document
from hallmark.serving.schema import (
    EnrolledReference,
    EnrolmentAnswer,
    RefusedReference,
    RetiredAnswer,
    RollbackAnswer,
)
from hallmark.serving.stages import Enrolment, Entry, MixedStagesError, NotReadyError, Source

Changed = TypeVar("Changed")
_REMEMBER_S = 7 * 86_400
_LOCK_PATIENCE_S = 5.0
_LOCK_EVERY_S = 0.25


class KeyReusedError(HallmarkError):
    """An idempotency key names another enrolment already."""

    http_status = 422
    title = "Idempotency key reused"
    reason = "idempotency_key_reused"


class Answers:
    """What was answered to enrolments that named themselves, in a SQLite file; kept for a week.

    Args:
        file: made where there is none.
        clock: seconds since 1970.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.time):
        self._clock = clock
        try:
            self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS answer "
                "(key_id TEXT, name TEXT, content TEXT, answer TEXT, at REAL, PRIMARY KEY (key_id, name))"
            )
        except sqlite3.Error as error:
            raise OutputError(f"{file}: cannot be used for idempotency keys: {error}") from None

    def recall(self, enrolment: Enrolment, content: str) -> EnrolmentAnswer | None:
        """The answer to the same enrolment; None where it is the first of its name.

        Raises:
            KeyReusedError: the name is that of another enrolment.
        """
        row = self._connection.execute(
            "SELECT content, answer FROM answer WHERE key_id = ? AND name = ? AND at > ?",
            (enrolment.key_id or "", enrolment.idempotency_key, self._clock() - _REMEMBER_S),
        ).fetchone()
        if row is None:
            return None
        if row[0] != content:
            raise KeyReusedError(
                f"Idempotency-Key: found {enrolment.idempotency_key!r} with other photographs or fields than before; "
                "wanted the same ones, or another key"
            )
        return EnrolmentAnswer.model_validate_json(row[1])

    def keep(self, enrolment: Enrolment, content: str, answer: EnrolmentAnswer) -> None:
        """Remember an answer."""
        now = self._clock()
        told = (enrolment.key_id or "", enrolment.idempotency_key, content, answer.model_dump_json(), now)
        self._connection.execute("DELETE FROM answer WHERE at <= ?", (now - _REMEMBER_S,))
        self._connection.execute("INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?)", told)


class Enrolments:
    """The one that writes to a gallery. It takes the gallery's lock with the first change, and holds it.

    Args:
        source: the bundle that is served, and its gallery.
        answers: None remembers no idempotency keys.
    """

    def __init__(self, source: Source, answers: Answers | None):
        self._source, self._answers = source, answers
        self._turn = Lock()
        self._opened: GalleryWriter | None = None
        self._gallery: Gallery | None = None

    def enrol(self, entries: Sequence[Entry], enrolment: Enrolment) -> EnrolmentAnswer:
        """Enrol photographs; what cannot be used is told apart.

        Raises:
            HallmarkError: why the first was refused, where all of them were.
            KeyReusedError: the idempotency key is that of another enrolment.
            MixedStagesError: they were described with another bundle.
            GalleryError: somebody else writes to the gallery.
            NotReadyError: it cannot be written, for lack of room for instance.
        """
        if enrolment.idempotency_key is None or self._answers is None:
            with self._turn:
                return self._enrol(entries, enrolment)
        content = _content(entries, enrolment)
        try:
            with self._turn:
                answer = self._answers.recall(enrolment, content)
                if answer is None:
                    answer = self._enrol(entries, enrolment)
                    self._answers.keep(enrolment, content, answer)
                return answer
        except sqlite3.Error as error:
            raise NotReadyError(
                f"idempotency keys cannot be kept ({error}); try again, nothing is added twice"
            ) from None

    def retire(self, reference_id: str) -> RetiredAnswer:
        """Take a reference out of the next version.

        Raises:
            UnknownReferenceError: there is none of that name.
        """
        with self._turn:
            self._gallery = self._written(lambda writer: writer.retire([reference_id]))
            return RetiredAnswer(gallery_version=self._gallery.version, reference_id=reference_id)

    def rollback(self, version: int) -> RollbackAnswer:
        """Make an earlier version's content the latest.

        Raises:
            UnknownVersionError: there is no such version, or it is gone.
        """
        with self._turn:
            self._gallery = self._written(lambda writer: writer.rollback(version))
            return RollbackAnswer(gallery_version=self._gallery.version, restored=version)

    def close(self) -> None:
        """Let the next writer in."""
        with self._turn:
            if self._opened is not None:
                self._opened.close()
                self._opened = self._gallery = None

    def _enrol(self, entries: Sequence[Entry], enrolment: Enrolment) -> EnrolmentAnswer:
        usable = [entry for entry in entries if entry.described is not None]
        if any(entry.source.embedding_id != self._source.embedding_id for entry in usable):
            raise MixedStagesError("a bundle is being exchanged for another; try again shortly")
        refused = {place: entry.error for place, entry in enumerate(entries) if entry.error is not None}
        named: dict[str, str] = {}
        there = self._there([entry.image_id for entry in usable])
        for place, entry in enumerate(entries):
            if entry.image_id in there:
                try:
                    named[entry.image_id] = self._add([entry], enrolment)[0]
                except EnrolmentError as error:
                    refused[place] = error
        fresh = [entry for entry in usable if entry.image_id not in there]
        if fresh:
            named |= zip([entry.image_id for entry in fresh], self._add(fresh, enrolment), strict=True)
        if len(refused) == len(entries):
            raise refused[0]
        return self._answer(entries, enrolment, refused, named, there)

    def _answer(
        self,
        entries: Sequence[Entry],
        enrolment: Enrolment,
        refused: dict[int, HallmarkError],
        named: dict[str, str],
        there: set[str],
    ) -> EnrolmentAnswer:
        references, seen = [], set(there)
        for place, entry in enumerate(entries):
            if place not in refused:
                told = {"image_id": entry.image_id, "file": entry.file, "created": entry.image_id not in seen}
                references.append(EnrolledReference(reference_id=named[entry.image_id], **told))
                seen.add(entry.image_id)
        return EnrolmentAnswer(
            gallery_version=self._gallery.version,
            references=references,
            refused=[
                RefusedReference(file=entry.file, problem=document(refused[place], enrolment.request_id))
                for place, entry in enumerate(entries)
                if place in refused
            ],
        )

    def _there(self, image_ids: list[str]) -> set[str]:
        """Which photographs are enrolled already."""
        if not image_ids:
            return set()
        self._writer()  # nobody else changes the gallery from here on
        if self._gallery is None:
            self._gallery = open_gallery(self._source.gallery, None, self._source.embedding_id)
        found = self._gallery.catalogue.find_images(image_ids)
        return {image_id for image_id, row in zip(image_ids, found, strict=True) if row is not None}

    def _add(self, entries: Sequence[Entry], enrolment: Enrolment) -> list[str]:
        references = [
            Reference(
                described=entry.described,
                product=enrolment.product,
                part=enrolment.part,
                item_id=enrolment.item_id,
                authenticity=enrolment.authenticity,
                thumbnail=entry.thumbnail,
            )
            for entry in entries
        ]
        self._gallery, names = self._written(lambda writer: writer.enrol(references))
        return names

    def _written(self, change: Callable[[GalleryWriter], Changed]) -> Changed:
        try:
            return change(self._writer())
        except OutputError as error:
            raise NotReadyError(f"nothing was changed: {error}") from None

    def _writer(self) -> GalleryWriter:
        """Opened with the first change: one that is about to be replaced may still hold the lock for a moment."""
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while self._opened is None:
            try:
                source = self._source
                self._opened = GalleryWriter(source.gallery, source.bundle_id, source.embedding_id)
            except GalleryError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOCK_EVERY_S)
        return self._opened


def _content(entries: Sequence[Entry], enrolment: Enrolment) -> str:
    """What tells one enrolment from another, whatever became of it."""
    told = [enrolment.product, enrolment.part, enrolment.item_id, str(enrolment.authenticity), enrolment.bundle]
    told += [entry.image_id for entry in entries]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
