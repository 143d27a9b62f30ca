"""What a participant's stream knows of the people in it, as the API tells it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

import cv2
from pydantic import BaseModel, Field

from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import crop
from hime_core.people.people import People, Person
from hime_core.people.sightings import Verdict
from hime_core.stream.job import SeenFace

THUMBNAIL = 96  # pixels


class BankExemplar(BaseModel):
    """One sharp picture of a person."""

    id: str
    person: int = Field(description="`id` of one of `people`")
    source: Literal["call", "photo"]
    age_frames: int = Field(description="those of this stream since it was taken")
    age_seconds: float
    sharpness: float
    yaw: float = Field(description="degrees that the head is turned by")
    native_px: int = Field(description="pixels of the headshot's side")
    thumbnail: str = Field(description="a JPEG as a data: URL")


class BankPerson(BaseModel):
    """Somebody who is known in the stream."""

    id: int = Field(description="a number within this stream, which tells nothing outside of it")
    name: str | None = Field(
        description="under which photos were registered; null for who is known from the call alone"
    )
    state: Literal["here", "away", "unmatched"] = Field(
        description="`unmatched`: no face of this stream has matched the photos so far, so they are set aside"
    )
    since_seconds: float | None = Field(description="since the first face of this person's; null where unmatched")
    seen_seconds_ago: float | None = Field(description="since the last one; null where unmatched")
    exemplars: int


class BankFace(BaseModel):
    """A face in the newest frame that was looked at."""

    person: int = Field(description="`id` of one of `people`")
    verdict: Verdict = Field(
        description="`new`: nobody who was known before; `recognised`: somebody who was; `unsure`: it may be somebody "
        "who is known, which cannot be told yet; `covered`: another face is before it"
    )
    side: int = Field(description="pixels of the headshot's side")
    exemplars: int = Field(description="those that it is enhanced with; 0: none, or it is not enhanced")
    reason: str | None = Field(description="why it is not enhanced, as `hime_bypass_total` has it; null where it is")


class Bank(BaseModel):
    participant: str
    exemplars: list[BankExemplar]
    people: list[BankPerson]
    faces: list[BankFace]


def bank_of(
    name: str, people: People, seen: Sequence[SeenFace], frame: int, began: float, now: float
) -> Bank:  # fmt: skip
    """frame: the number of the stream's newest; began: when the stream did, like now in seconds of the people's clock.
    Encodes JPEGs: not for the event loop's thread."""
    everyone = people.everyone()
    exemplars = [(person.id, exemplar) for person in everyone for exemplar in person.bank.exemplars()]
    known = {person.id for person in everyone}
    return Bank(
        participant=name,
        exemplars=[
            _exemplar(person, exemplar, frame - exemplar.frame if exemplar.time >= began else frame, now)
            for person, exemplar in exemplars
        ],
        people=[_person(person, now) for person in everyone],
        faces=[_face(face) for face in seen if face.person in known],
    )


def _person(person: Person, now: float) -> BankPerson:
    state: Literal["here", "away", "unmatched"] = "away" if person.sighting is None else "here"
    return BankPerson(
        id=person.id,
        name=person.name,
        state="unmatched" if person.since is None else state,
        since_seconds=_ago(person.since, now),
        seen_seconds_ago=_ago(person.seen, now),
        exemplars=len(person.bank.exemplars()),
    )


def _ago(time: float | None, now: float) -> float | None:
    return None if time is None else round(max(0.0, now - time), 1)


def _face(face: SeenFace) -> BankFace:
    return BankFace(
        person=face.person, verdict=face.verdict, side=face.side, exemplars=face.exemplars, reason=face.reason
    )


def _exemplar(person: int, exemplar: Exemplar, frames: int, now: float) -> BankExemplar:
    return BankExemplar(
        id=exemplar.id,
        person=person,
        source=exemplar.source,
        age_frames=max(0, frames),
        age_seconds=round(max(0.0, now - exemplar.time), 2),
        sharpness=round(float(exemplar.sharpness), 4),
        yaw=round(float(exemplar.yaw), 1),
        native_px=exemplar.native_px,
        thumbnail=_thumbnail(exemplar),
    )


def _thumbnail(exemplar: Exemplar) -> str:
    shot = exemplar.headshot
    face = crop(exemplar.image, round(shot.cx - shot.side / 2), round(shot.cy - shot.side / 2), round(shot.side))
    small = cv2.resize(face, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
