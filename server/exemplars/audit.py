"""The audit log: who consented, looked, used and deleted, when, and nothing of a face or a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from server.exemplars.schema import AuditRow
from server.exemplars.storage import Storage

ANONYMOUS = "anonymous"  # whoever calls where nobody has to say who they are
RELAY = "relay"  # what the relay does by itself

# consent: a photo was registered; list: a person's photos were listed; view: a picture was fetched; use: photos were
# given to a call, or compared with new ones; delete: one photo; forget: a person whole; expire: its time was over.
Action = Literal["consent", "list", "view", "use", "delete", "forget", "expire"]


@dataclass(frozen=True)
class Entry:
    """time: Unix seconds. actor and person are pseudonyms, and the same where one acts for oneself. terms: of a
    consent, until when (`expires_at`) and to which wording (server/exemplars/consent.py)."""

    time: float
    action: str
    actor: str
    person: str
    exemplar: str | None
    terms: dict[str, Any] | None


class AuditLog:
    """Written in the transaction of what it tells of: neither is there without the other. It is only ever added to,
    until an entry is older than entries are kept."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def record(
        self,
        session: Session,
        time: float,
        action: Action,
        actor: str,
        person: str,
        exemplar: str | None = None,
        terms: dict[str, Any] | None = None,
    ) -> None:
        """actor: the caller's subject, which is kept as a pseudonym; person: a pseudonym."""
        by = self._storage.pseudonyms.of(actor)
        session.add(AuditRow(time=time, action=action, actor=by, person=person, exemplar=exemplar, terms=terms))

    def entries(self, person: str | None = None, actor: str | None = None) -> list[Entry]:
        """Oldest first; of one person and by one actor, where they are named. Raises StorageError."""
        chosen = select(AuditRow).order_by(AuditRow.id)
        if person is not None:
            chosen = chosen.where(AuditRow.person == self._storage.pseudonyms.of(person))
        if actor is not None:
            chosen = chosen.where(AuditRow.actor == self._storage.pseudonyms.of(actor))
        with self._storage.session() as session:
            rows = session.scalars(chosen).all()
        return [Entry(row.time, row.action, row.actor, row.person, row.exemplar, row.terms) for row in rows]

    def purge(self, before: float) -> None:
        with self._storage.session() as session:
            session.execute(delete(AuditRow).where(AuditRow.time < before))
