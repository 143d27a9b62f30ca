"""The REST interface to people's exemplar photos."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import Response
from pydantic import BaseModel, Field

from server.access.guards import GuardedRoute, PhotoOwner
from server.exemplars.consent import OF_API, WORDINGS
from server.exemplars.photo import StoredPhoto
from server.exemplars.service import Examined, ExemplarService
from server.problems import Name, Problem, problem_docs

router = APIRouter(prefix="/api/people/{person}", tags=["exemplars"], route_class=GuardedRoute)


class ExemplarInfo(BaseModel):
    """One photo. A photo that is not accepted is not kept: its id leads nowhere, and it has no times."""

    id: str
    created_at: datetime | None
    expires_at: datetime | None
    accepted: bool
    reason: str | None = Field(description="why it was not accepted")
    kind: str | None = Field(default=None, description="the reason's, for programs, such as no_face")
    sharpness: float | None
    box: list[float] | None = Field(description="[x, y, w, h] of the face in the uploaded photo, upright, in pixels")


class Exemplars(BaseModel):
    person: str
    exemplars: list[ExemplarInfo]


def service(request: Request) -> ExemplarService:
    exemplars: ExemplarService = request.app.state.relay.exemplars
    return exemplars


def multipart(request: Request) -> None:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Problem(415, "Photos are sent as multipart/form-data.", kind="wrong-media-type")


Service = Annotated[ExemplarService, Depends(service)]


@router.post(
    "/exemplars",
    status_code=201,
    summary="Register photos of a person who consented",
    description="Of each accepted photo only the face's surroundings are kept, without metadata, until they expire.",
    response_model=Exemplars,
    responses=problem_docs(400, 408, 409, 413, 415, 422, 429, 503),
    dependencies=[Depends(multipart)],
)
async def register(
    request: Request,
    person: Name,
    caller: PhotoOwner,
    service: Service,
    photos: Annotated[list[UploadFile], File(description="JPEG, PNG or WebP")],
    consent: Annotated[str, Form(description="`true`: the person shown consents to this use")] = "",
    expires_days: Annotated[int | None, Form(ge=1, le=3650, description="365 unless given")] = None,
    wording: Annotated[str, Form(description=f"what was consented to: {' or '.join(WORDINGS)}")] = OF_API,
) -> Exemplars:
    relay = request.app.state.relay
    relay.limits.persons_uploads.take(person)
    if consent.strip().lower() != "true":
        detail = "Photos are taken only with the consent of the person shown: send consent=true."
        raise Problem(400, detail, kind="consent-missing")
    if wording not in WORDINGS:
        detail = f"wording: no consent is worded so; {' or '.join(WORDINGS)} is known."
        raise Problem(400, detail, kind="unknown-wording")
    if not 1 <= len(photos) <= relay.settings.max_photos:
        relay.limits.refused("photos")
        most = relay.settings.max_photos
        detail = f"1 to {most} photos are taken at once, not {len(photos)}."
        raise Problem(400, detail, kind="wrong-number-of-photos", most=most)
    for number, photo in enumerate(photos, 1):
        if (photo.size or 0) > relay.settings.max_photo_bytes:
            relay.limits.refused("photo_bytes")
            most = relay.settings.max_photo_bytes
            detail = f"Photo {number} is too large: at most {most} bytes are taken."
            raise Problem(413, detail, kind="photo-too-large", photo=number, most=most)
    if "detector" in relay.failures:
        detail = "No face can be sought now: the face detector could not be loaded."
        raise Problem(503, detail, kind="no-detector")
    examined, stored = await service.register(
        person, [photo.read for photo in photos], expires_days, caller.subject, wording
    )
    rows = {row.id: row for row in stored}
    infos = [_stored(rows[photo.id]) if photo.id in rows else _refused(photo) for photo in examined]
    if not stored:
        details = [info.model_dump(mode="json") for info in infos]
        detail = "No photo can be used; each one's reason is given."
        raise Problem(422, detail, kind="no-usable-photo", exemplars=details)
    return Exemplars(person=person, exemplars=infos)


@router.get(
    "/exemplars",
    summary="The photos that are kept of a person",
    response_model=Exemplars,
    responses=problem_docs(400, 503),
)
async def list_exemplars(person: Name, caller: PhotoOwner, service: Service) -> Exemplars:
    return Exemplars(person=person, exemplars=[_stored(row) for row in await service.photos_of(person, caller.subject)])


@router.get(
    "/exemplars/{id}",
    summary="What is kept of one photo: the face's surroundings",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **problem_docs(400, 404, 503)},
)
async def exemplar(person: Name, id: Name, caller: PhotoOwner, service: Service) -> Response:
    picture = await service.picture(person, id, caller.subject)
    if picture is None:
        raise _absent()
    headers = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
    return Response(picture, media_type="image/jpeg", headers=headers)


@router.delete(
    "/exemplars/{id}", status_code=204, summary="Delete one photo everywhere", responses=problem_docs(400, 404, 503)
)
async def delete_exemplar(person: Name, id: Name, caller: PhotoOwner, service: Service) -> None:
    if not await service.forget(person, id, caller.subject):
        raise _absent()


@router.delete(
    "",
    status_code=204,
    summary="Forget a person whole",
    description="Deletes photos, cached features and what running calls gathered. 204 also where nothing is known.",
    responses=problem_docs(400, 503),
)
async def delete_person(person: Name, caller: PhotoOwner, service: Service) -> None:
    await service.forget_person(person, caller.subject)


def _absent() -> Problem:
    return Problem(404, "There is no such exemplar of this person, or it has expired.", kind="no-such-photo")


def _stored(row: StoredPhoto) -> ExemplarInfo:
    return ExemplarInfo(
        id=row.id,
        created_at=_to_the_second(row.created_at),
        expires_at=_to_the_second(row.expires_at),
        accepted=True,
        reason=None,
        sharpness=row.face.sharpness,
        box=row.face.box,
    )


def _to_the_second(unix_seconds: float) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC).replace(microsecond=0)


def _refused(photo: Examined) -> ExemplarInfo:
    return ExemplarInfo(
        id=photo.id,
        created_at=None,
        expires_at=None,
        accepted=False,
        reason=photo.reason,
        kind=photo.kind,
        sharpness=None,
        box=None,
    )
