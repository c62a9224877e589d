"""Calls to Vertex AI's REST API v1: credentials, timeouts, retries, and one clear error for each kind of failure.

Requests are Google's own message types, sent by google-cloud-aiplatform's REST transport, without its retries: those do
not distinguish a request that was refused from one that may have been carried out. Here

- a request that was refused before anything was done (429, connection refused, 401 and the token was renewed since) is
  repeated;
- a request without an answer, or whose answer does not say what was done (timeout, cut connection, 5xx), is repeated
  only if that is safe; `create_once` first looks for what a creation may have left;
- any other failure is an error at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import google.auth
import requests
from google.api_core import exceptions
from google.auth import credentials as auth_credentials
from google.auth import exceptions as auth_exceptions
from google.auth.transport.requests import AuthorizedSession
from google.cloud.aiplatform_v1.services.job_service import JobServiceClient
from google.cloud.aiplatform_v1.services.job_service.transports.rest import JobServiceRestTransport
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.cloud.aiplatform_v1.services.model_service.transports.rest import ModelServiceRestTransport
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.cloud.aiplatform_v1.services.pipeline_service.transports.rest import PipelineServiceRestTransport
from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient
from google.cloud.aiplatform_v1.services.schedule_service.transports.rest import ScheduleServiceRestTransport
from google.longrunning import operations_pb2
from google.protobuf import json_format

from kubeflow.clusters import Failure, ServiceConfig, ServiceError
from pipeline.hosts import host_of, is_google, meant_for, service_address
from pipeline.http import careful

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LONGEST_WAIT_SECONDS = 30.0

T = TypeVar("T")


class AnswerLost(ServiceError):
    """A creation may have been carried out: there was no answer, or one that does not say."""


class VertexApi:
    """Google's clients for one project and region; every request goes through `call`."""

    def __init__(self, config: ServiceConfig):
        """Sends nothing yet.

        Raises:
            ValueError: the project or region cannot be one, or the endpoint is http:// to another machine.
        """
        for name in ("project", "region"):
            if not re.fullmatch(r"[a-z0-9][a-z0-9:.-]*", getattr(config, name)):
                raise ValueError(f"service.{name}: got {getattr(config, name)!r}; give the one to run in")
        endpoint = config.endpoint or f"https://{config.region}-aiplatform.googleapis.com"
        self.url = meant_for(service_address(endpoint, "service.endpoint"))
        self.config = config

    @property
    def parent(self) -> str:
        """The resource name with which all names in this project and region start."""
        return f"projects/{self.config.project}/locations/{self.config.region}"

    def name(self, collection: str, given: str) -> str:
        """Full resource name of an id in a collection ("pipelineJobs"); a full name is returned unchanged.

        Raises:
            ServiceError: INVALID, if it is neither.
        """
        if re.fullmatch(rf"projects/[^/]+/locations/[^/]+/{collection}/[^/]+", given):
            return given
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", given):
            return f"{self.parent}/{collection}/{given}"
        raise ServiceError(Failure.INVALID, f"{given!r} is no id of Vertex AI's {collection}")

    @cached_property
    def pipelines(self) -> PipelineServiceClient:
        """Client of pipelineJobs."""
        return PipelineServiceClient(transport=self._transport(PipelineServiceRestTransport))

    @cached_property
    def schedules(self) -> ScheduleServiceClient:
        """Client of schedules."""
        return ScheduleServiceClient(transport=self._transport(ScheduleServiceRestTransport))

    @cached_property
    def jobs(self) -> JobServiceClient:
        """Client of customJobs."""
        return JobServiceClient(transport=self._transport(JobServiceRestTransport))

    @cached_property
    def models(self) -> ModelServiceClient:
        """Client of models."""
        return ModelServiceClient(transport=self._transport(ModelServiceRestTransport))

    def operation(self, name: str, what: str) -> operations_pb2.Operation:
        """Reads a long-running operation.

        The clients' own method uses the path of Google's console ("/ui/...") instead of the public one.

        Raises:
            ServiceError: as `call`.
        """

        def read(request: str, retry: None, timeout: float) -> operations_pb2.Operation:
            response = self._session.get(f"{self.url}/v1/{request}", timeout=timeout)
            if response.status_code >= 400:
                raise exceptions.from_http_response(response)
            return json_format.Parse(response.content, operations_pb2.Operation(), ignore_unknown_fields=True)

        found: operations_pb2.Operation = self.call(what, read, name)
        return found

    def call(self, what: str, method: Callable[..., Any], request: Any, repeatable: bool = True) -> Any:
        """Sends a request, and repeats it as the module's header says.

        Args:
            what: for messages, as in "reading run X".
            method: of one of the clients.
            request: its message.
            repeatable: whether sending it twice has the same effect as once.

        Raises:
            ServiceError: of the last answer's kind.
            AnswerLost: not repeatable, and it may have been carried out.
        """
        for attempt in range(self.config.retries + 1):
            try:
                return method(request=request, retry=None, timeout=self.config.timeout_seconds)
            except _ANSWERS as error:
                failure, refused = _kind(error)
                again = refused if not repeatable else refused or failure in _PASSING
                if not again or attempt == self.config.retries:
                    kind = (
                        AnswerLost if failure in _PASSING and not refused and not repeatable else ServiceError
                    )
                    raise kind(failure, self._message(what, failure, error, attempt + 1)) from error
                self.wait(attempt, error)
        raise AssertionError("the last attempt returns or raises")

    def items(
        self, what: str, method: Callable[..., Any], request: Any, group: str, limit: int | None = None
    ) -> list[Any]:
        """What a listing holds, page after page.

        Args:
            what: for messages.
            method: of one of the clients.
            request: its message; its page token is set here.
            group: name of the items in an answer, as in "pipeline_jobs".
            limit: how many are wanted; None for all.

        Raises:
            ServiceError: as `call`.
        """
        found: list[Any] = []
        while limit is None or len(found) < limit:
            page = self.call(what, method, request)
            found += getattr(page, group)
            request.page_token = page.next_page_token
            if not request.page_token:
                break
        return found[:limit]

    def create_once(
        self,
        what: str,
        method: Callable[..., Any],
        request: Any,
        find: Callable[[], T | None],
        guarded: bool = False,
    ) -> T:
        """Creates a thing that `find` can find, and never a second one.

        Args:
            what: for messages.
            method: of one of the clients; its result is returned.
            request: its message.
            find: returns the thing if it exists.
            guarded: the request names the resource's id, so the cluster itself refuses a second one. A lost request
                that left nothing behind is then repeated.

        Raises:
            ServiceError: as `call`; CONFLICT only if another thing has the name.
            AnswerLost: the answer was lost, and nothing was found. The same command can be given again.
        """
        for attempt in range(self.config.retries + 1):
            try:
                return _method_result(self.call(what, method, request, repeatable=False))
            except ServiceError as error:
                if not isinstance(error, AnswerLost) and error.failure is not Failure.CONFLICT:
                    raise
                found = self._look(find, isinstance(error, AnswerLost) and not guarded)
                if found is not None:
                    return found
                if not (guarded and isinstance(error, AnswerLost)) or attempt == self.config.retries:
                    raise
                self.wait(attempt)
        raise AssertionError("the last attempt returns or raises")

    def _look(self, find: Callable[[], T | None], patiently: bool) -> T | None:
        """Looks repeatedly: a list may lag behind a creation, and a request that timed out may still be under way."""
        for attempt in range(self.config.retries + 1 if patiently else 1):
            found = find()
            if found is not None:
                return found
            if patiently:
                self.wait(attempt)
        return None

    def wait(self, attempt: int, error: Exception | None = None) -> None:
        """Waits before the next attempt: twice as long each time, or as long as the answer's Retry-After says."""
        seconds = self.config.backoff_seconds * 2**attempt
        headers = getattr(getattr(error, "response", None), "headers", {})
        asked = str(headers.get("Retry-After", ""))
        if asked.isdigit():
            seconds = max(seconds, float(asked))
        time.sleep(min(seconds, _LONGEST_WAIT_SECONDS))

    @cached_property
    def _session(self) -> AuthorizedSession:
        return _careful(AuthorizedSession(self._credentials))

    def _transport(self, kind: type[T]) -> T:
        """One of Google's transports, with sessions that neither read .netrc nor follow redirections."""
        scheme, host = self.url.split("://", 1)
        transport = kind(host=host, url_scheme=scheme, credentials=self._credentials)  # type: ignore[call-arg]
        _careful(transport._session)  # type: ignore[attr-defined]
        return transport

    @cached_property
    def _credentials(self) -> auth_credentials.Credentials:
        try:
            if self._token():
                return _TokenCredentials(self._token)
            if not is_google(host_of(self.url)):
                raise ServiceError(
                    Failure.UNAUTHENTICATED,
                    f"service.endpoint {self.url}: this machine's Google credentials go to *.googleapis.com alone; "
                    "for another host give a token by service.token_env or service.token_file",
                )
            return google.auth.default(scopes=[_SCOPE])[0]
        except auth_exceptions.GoogleAuthError as error:
            message = self._message("signing in", Failure.UNAUTHENTICATED, error, 1)
            raise ServiceError(Failure.UNAUTHENTICATED, message) from error

    def _token(self) -> str:
        try:
            return self.config.token()
        except ValueError as error:
            raise auth_exceptions.RefreshError(str(error)) from error

    def _message(self, what: str, failure: Failure, error: Exception, attempts: int) -> str:
        tries = f" ({attempts} attempts)" if attempts > 1 else ""
        cause = " ".join(str(getattr(error, "message", "") or error).split()).rstrip(".")
        cause = re.sub(r"^[A-Z]+ https?://\S+: ", "", cause)  # the client begins with the request's URL
        remedy = _REMEDIES[failure].format(
            project=self.config.project, region=self.config.region, seconds=self.config.timeout_seconds
        )
        return f"Vertex AI at {self.url}, {what}{tries}: {cause}; {remedy}"


def _careful(session: AuthorizedSession) -> AuthorizedSession:
    """Secures a session, and the session by which it renews tokens."""
    careful(session._auth_request_session)
    return careful(session)


def _method_result(result: Any) -> Any:
    """The result of a client's method; of a long-running operation its raw message."""
    return getattr(result, "operation", result) if hasattr(result, "add_done_callback") else result


class _TokenCredentials(auth_credentials.Credentials):
    """The settings' bearer token, read again when it is refused: clusters rewrite files with tokens."""

    def __init__(self, read: Callable[[], str]):
        super().__init__()
        self._read = read
        self.token = read()

    def refresh(self, request: Any) -> None:
        """Called after a 401; the client then repeats the request once."""
        token = self._read()
        if token == self.token:
            raise auth_exceptions.RefreshError("the token was refused (401)")
        self.token = token


_ANSWERS = (
    exceptions.GoogleAPICallError,
    auth_exceptions.GoogleAuthError,
    requests.exceptions.RequestException,
    json_format.ParseError,
)
_CODES = {
    400: Failure.INVALID,
    401: Failure.UNAUTHENTICATED,
    403: Failure.FORBIDDEN,
    404: Failure.NOT_FOUND,
    409: Failure.CONFLICT,
    429: Failure.BUSY,
}
_PASSING = (Failure.SERVER, Failure.TIMEOUT, Failure.UNREACHABLE)
_REMEDIES = {
    Failure.UNAUTHENTICATED: "renew the token in service.token_env or service.token_file, or run "
    "`gcloud auth application-default login`",
    Failure.FORBIDDEN: "give the account roles/aiplatform.user in project {project}, and enable the Vertex AI API",
    Failure.NOT_FOUND: "check the id, project {project} and region {region}",
    Failure.CONFLICT: "another resource has this name; choose another one",
    Failure.INVALID: "correct what was refused, and give the command again",
    Failure.BUSY: "wait, or request more quota in project {project}, region {region}",
    Failure.SERVER: "give the same command again: it looks for what it has started before",
    Failure.TIMEOUT: "no answer within {seconds:g} s. Give the same command again: it looks for what it "
    "has started before",
    Failure.UNREACHABLE: "check the network and service.endpoint. Give the same command again: it looks for "
    "what it has started before",
}


def _kind(error: Exception) -> tuple[Failure, bool]:
    """The kind of failure, and whether the request was certainly not carried out and may succeed later."""
    if isinstance(error, exceptions.GoogleAPICallError):
        code = int(error.code or 500)
        if code in (408, 504):
            return Failure.TIMEOUT, False
        failure = _CODES.get(code, Failure.SERVER if code >= 500 else Failure.INVALID)
        return failure, failure is Failure.BUSY
    if isinstance(
        error, auth_exceptions.TransportError
    ):  # the token's issuer did not answer; our request was not sent
        return Failure.UNREACHABLE, True
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return Failure.UNAUTHENTICATED, False
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return Failure.TIMEOUT, True
    if isinstance(error, requests.exceptions.Timeout):
        return Failure.TIMEOUT, False
    if isinstance(error, requests.exceptions.ConnectionError):
        return Failure.UNREACHABLE, "NewConnectionError" in repr(error)
    if isinstance(error, json_format.ParseError):
        return Failure.SERVER, False
    return Failure.UNREACHABLE, False
