"""What can go wrong with storage."""

from __future__ import annotations


class StorageError(RuntimeError):
    """The database, the files or their key cannot be used at the moment. The message may be shown to anybody."""


class KeyUnavailable(StorageError):
    """The key that the photos are encrypted with is not given, or another is. Nothing is changed or deleted then."""


class SchemaTooNew(StorageError):
    """A later version has changed the database."""


class StoreFull(ValueError):
    """A person has as many photos as are kept of one."""
