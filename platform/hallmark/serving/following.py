"""The index of the gallery version in use, exchanged while queries go on."""

from __future__ import annotations

import logging
from threading import Event, Lock, Thread

from hallmark.errors import HallmarkError
from hallmark.gallery.index import GalleryIndex
from hallmark.gallery.settings import IndexConfig
from hallmark.gallery.store import latest_version, open_gallery

_log = logging.getLogger(__name__)
EVERY_S = 0.5


class Follower:
    """Holds the index of one gallery version: the latest as it appears, or one that is asked for.

    Args:
        uri: of the gallery; None = there is none to follow.
        embedding_id: of the bundle in use.
        config: of the index.
        device: where it is searched.
    """

    def __init__(self, uri: str | None, embedding_id: str, config: IndexConfig = IndexConfig(), device: str = "cpu"):  # noqa: B008
        self._uri, self._embedding_id, self._config, self._device = uri, embedding_id, config, device
        self._index: GalleryIndex | None = None
        self._pinned: int | None = None
        self._changing = Lock()
        self._ended = Event()
        self._said = ""

    @property
    def index(self) -> GalleryIndex:
        """In use now; whoever has it may go on with it after it was exchanged."""
        return self._index

    def use(self, version: int | None) -> None:
        """Take up a version; None = the latest, and every later one as it appears.

        Raises:
            GalleryError: it cannot be opened; the one before stays in use.
        """
        with self._changing:
            self._take_up(version)
            self._pinned = version

    def refresh(self) -> GalleryIndex:
        """The index, after taking up what has been written meanwhile.

        Raises:
            GalleryError: the latest version cannot be opened; the one before stays in use.
        """
        with self._changing:
            follows = self._uri is not None and self._pinned is None
            if follows and latest_version(self._uri) != self._index.gallery.version:
                self._take_up(None)
            return self._index

    def start(self) -> None:
        """Look for a later version twice a second, until `stop`."""
        Thread(target=self._follow, name=f"follow {self._uri}", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def _follow(self) -> None:
        while not self._ended.wait(EVERY_S):
            try:
                self.refresh()
                self._said = ""
            except Exception as error:  # whatever it is, the version in use still answers
                self._say(error)

    def _take_up(self, version: int | None) -> None:
        gallery = open_gallery(self._uri, version, self._embedding_id)
        if self._index is None:
            self._index = GalleryIndex(gallery, self._config, self._device)
        elif self._index.gallery != gallery:
            self._index = self._index.updated(gallery)

    def _say(self, error: Exception) -> None:
        if str(error) != self._said:
            self._said = str(error)
            version = self._index.gallery.version
            trace = None if isinstance(error, HallmarkError) else error
            _log.warning("the latest gallery version is not taken up, %d stays: %s", version, error, exc_info=trace)
