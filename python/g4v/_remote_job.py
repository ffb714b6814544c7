"""One video as a job of another server: its requests, and what its answers mean."""

from __future__ import annotations

import json
import re
import secrets
import ssl
import time
from typing import TYPE_CHECKING, Any

from . import _remote_end
from ._console import printable
from ._http import Answer, Connection
from ._http_address import Address
from ._http_socket import HttpFault, Patience, TooLarge
from .errors import Cancelled, GeneratorError

if TYPE_CHECKING:
    from ._video_job import VideoJob

_LARGEST_JSON = 1 << 20
_LONGEST_MESSAGE = 300  # characters of what a server says
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds between two looks at the job
_SLICE = 0.1  # seconds of a pause between two looks whether the program ends
_GRACE = 5.0  # seconds for a request that nobody waits for: one whose answer is needed to stop the job
_LOST_IN_A_ROW = 4  # looks at the job that may fail before it counts as lost
_PASSING = (429, 502, 503, 504)  # statuses that say nothing of the job
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")


class RemoteJob:
    """A video that a server is asked for.

    until: when it must be here, as time.monotonic() tells it, `seconds` from the start. most: bytes of its
    file.
    """

    def __init__(
        self,
        address: Address,
        key: str,
        model: str | None,
        context: ssl.SSLContext | None,
        job: VideoJob,
        *,
        until: float,
        seconds: float,
        most: int,
    ) -> None:
        self.name = f"the generator {address.host}"
        self._path, self._model, self._key, self._job = address.path, model, key, job
        self._until, self._seconds, self._most = until, seconds, most
        headers = {"User-Agent": "g4v"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._connection = Connection(address, headers, context)
        self._patience = Patience(until, self.stopped)
        self._stopped_at: float | None = None
        self._told = 0  # percents

    def stopped(self) -> bool:
        """Whether nobody wants the video any more."""
        return self._job.cancelled or _remote_end.program_ends()

    def make(self) -> bytes:
        """The file of the video. Raises `GeneratorError` or `Cancelled`."""
        identifier = ""
        try:
            record = self._create()
            identifier = self._identifier_of(record)
            self._wait_for(identifier, record)
            return self._content(identifier)
        except HttpFault as fault:
            raise self._fault_of(fault) from None
        finally:
            if identifier:
                self._delete(identifier)
            self._connection.close()

    def _create(self) -> dict[str, Any]:
        self._patience.check()
        boundary = secrets.token_hex(16)
        body = _form(self._fields(), boundary)
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        # It is finished also where the video is cancelled: without its id the job could not be stopped.
        patience = Patience(self._until, self._stopped_for_long)
        answer = self._connection.ask("POST", self._path, patience, _LARGEST_JSON, body, kind)
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        return self._record(answer)

    def _stopped_for_long(self) -> bool:
        if self._stopped_at is None and self.stopped():
            self._stopped_at = time.monotonic()
        return self._stopped_at is not None and time.monotonic() - self._stopped_at > _GRACE

    def _fields(self) -> dict[str, str]:
        """The fields of the form; what was not asked for is left to the server."""
        job = self._job
        fields: dict[str, Any] = {"prompt": job.caption, "model": self._model, "seed": job.seed}
        if job.width is not None and job.height is not None:
            fields["size"] = f"{job.width}x{job.height}"  # the one that every server knows
        else:
            fields |= {"width": job.width, "height": job.height}
        fields |= {
            "num_frames": job.frames,
            "fps": None if job.fps is None else f"{job.fps:.15g}",
            "num_inference_steps": job.steps,
            "guidance_scale": None if job.guidance_scale is None else f"{job.guidance_scale:.15g}",
            "negative_prompt": job.negative_prompt,
        }
        return {name: str(value) for name, value in fields.items() if value is not None}

    def _wait_for(self, identifier: str, record: dict[str, Any]) -> None:
        """Looks at the job until it is completed; tells its progress."""
        pause = _FIRST_PAUSE
        while True:
            status = record.get("status")
            self._tell(record.get("progress"))
            if status == "completed":
                self._tell(100)
                return
            if status == "failed":
                raise GeneratorError(
                    f"{self.name} made no video: {self._words(record.get('error'))}; ask again or for another"
                )
            if status not in ("queued", "in_progress"):
                raise GeneratorError(
                    f"{self.name} tells the status {printable(str(status))[:40]!r} of the video, which is "
                    "none of queued, in_progress, completed and failed; check that the URL is of /v1/videos"
                )
            self._pause(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)
            record = self._look(identifier)

    def _look(self, identifier: str) -> dict[str, Any]:
        """The record of the job. A server that is away for a moment is asked again."""
        for lost in range(1, _LOST_IN_A_ROW + 1):
            try:
                answer = self._connection.ask(
                    "GET", f"{self._path}/{identifier}", self._patience, _LARGEST_JSON
                )
            except HttpFault as fault:
                if not fault.lost or lost == _LOST_IN_A_ROW:
                    raise
            else:
                if answer.status == 200:
                    return self._record(answer)
                if answer.status not in _PASSING or lost == _LOST_IN_A_ROW:
                    raise self._lost(answer)
            self._pause(0.25 * lost)
        raise AssertionError("the last try has raised or returned")

    def _content(self, identifier: str) -> bytes:
        answer = self._connection.ask("GET", f"{self._path}/{identifier}/content", self._patience, self._most)
        if answer.status != 200:
            raise self._lost(answer)
        return answer.body

    def _delete(self, identifier: str) -> None:
        """Stops the job, or frees what the server keeps of it; whether that works changes nothing."""
        patience = Patience(time.monotonic() + _GRACE)
        try:
            self._connection.ask("DELETE", f"{self._path}/{identifier}", patience, _LARGEST_JSON)
        except (HttpFault, Cancelled):
            pass

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._job.wait(min(left, _SLICE)):
            self._patience.check()
        self._patience.check()

    def _tell(self, progress: Any) -> None:
        if isinstance(progress, int | float) and self._told < progress <= 100:
            self._told = int(progress)
            self._job.progress(self._told, 100)

    # What answers mean.

    def _record(self, answer: Answer) -> dict[str, Any]:
        record = _json(answer.body)
        if not isinstance(record, dict):
            raise GeneratorError(
                f"{self.name} answers with something else than the JSON of a video; check that the URL is of "
                "/v1/videos"
            )
        return record

    def _identifier_of(self, record: dict[str, Any]) -> str:
        identifier = record.get("id")
        if not isinstance(identifier, str) or not _IDENTIFIER.fullmatch(identifier):
            raise GeneratorError(
                f"{self.name} gives the video no id that can be used; check that the URL is of /v1/videos"
            )
        return identifier

    def _refusal(self, answer: Answer) -> GeneratorError:
        """Why the server takes no job."""
        words = self._words(_json(answer.body))
        status = answer.status
        if status in (401, 403):
            return GeneratorError(
                f"{self.name} refuses the key ({status}): {words}; give it one that it knows, as "
                "G4V_GENERATOR_API_KEY"
            )
        if status in (404, 405):
            return GeneratorError(
                f"{self.name} has no {self._path} ({status}): {words}; check the URL, and the model, if any"
            )
        if status == 429 or status >= 500:
            return GeneratorError(f"{self.name} cannot make a video now ({status}): {words}; ask again later")
        return GeneratorError(
            f"{self.name} refuses the request ({status}): {words}; change what is asked for"
        )

    def _lost(self, answer: Answer) -> GeneratorError:
        """What became of a job whose state or file cannot be had."""
        words = self._words(_json(answer.body))
        if answer.status == 404:
            return GeneratorError(f"{self.name} does not know the video any more ({words}); ask again")
        return GeneratorError(f"{self.name} made no video ({answer.status}): {words}; ask again later")

    def _fault_of(self, fault: HttpFault) -> GeneratorError:
        if time.monotonic() > self._until:
            return GeneratorError(
                f"{self.name} took longer than {self._seconds:g} seconds; ask for less, or allow it more time"
            )
        if fault.lost:
            return GeneratorError(f"{self.name} {fault}; check the URL, and that the server runs")
        if isinstance(fault, TooLarge):
            return GeneratorError(f"{self.name} {fault}; ask for a smaller video, or allow more bytes")
        return GeneratorError(f"{self.name} {fault}" + ("" if ";" in str(fault) else "; check the URL"))

    def _words(self, said: Any) -> str:
        """What a server says of a fault, in one line that is safe to show."""
        text = printable(_message(said))
        if self._key:
            text = text.replace(self._key, "[key]")
        if len(text) > _LONGEST_MESSAGE:
            return text[:_LONGEST_MESSAGE] + "..."
        return text.rstrip(". ") or "it does not say why"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(said: Any, depth: int = 4) -> str:
    """The words in {"error": {"message": ...}} and what else servers answer with, `depth` levels down."""
    if isinstance(said, str):
        return said
    if depth == 0:
        return ""
    if isinstance(said, list):
        return "; ".join(filter(None, (_message(part, depth - 1) for part in said[:3])))
    if not isinstance(said, dict):
        return ""
    place = said.get("loc")  # of FastAPI
    where = f"{place[-1]}: " if isinstance(place, list) and place else ""
    for name in ("message", "msg", "detail", "error"):
        if words := _message(said.get(name), depth - 1):
            return where + words
    return ""


def _form(fields: dict[str, str], boundary: str) -> bytes:
    """The fields as multipart/form-data, which vLLM-Omni needs and the others take."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return ("".join(parts) + f"--{boundary}--\r\n").encode("utf-8")
