"""S3, and what speaks its protocol (MinIO, Ceph), by botocore: endpoint, region and credentials are as it finds them.

That is in the environment (AWS_ENDPOINT_URL, AWS_PROFILE, ...), in ~/.aws, or from the machine's own role. Its
"standard" retries apply unless AWS_MAX_ATTEMPTS or the profile's max_attempts says otherwise. They draw on one
allowance for all requests of a process, which sixteen at once use up in seconds, and do not cover an answer that breaks
off. So what may pass is tried again here too, with waits of a minute in all; but not before a service has answered
once: a wrong endpoint is found in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)

from hares.buckets.client import (
    CONNECT_SECONDS,
    CONNECTIONS,
    PAGE,
    READ_SECONDS,
    BucketError,
    Page,
    changed,
    fault,
    gone,
)

T = TypeVar("T")

_TRIES = 3
_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds
_REFUSED = (
    *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidToken"),
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "UnrecognizedClientException"),
)
_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)
_HOME = "in the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, ...) or in ~/.aws"


class S3:
    """See `hares.buckets.client.Client`."""

    def __init__(self) -> None:
        session = botocore.session.get_session()
        given = session.get_config_variable("max_attempts") is not None
        config = Config(
            max_pool_connections=CONNECTIONS,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            **({} if given else {"retries": {"mode": "standard", "total_max_attempts": _TRIES}}),
        )
        with _faults("s3://"):
            self._client = session.create_client("s3", config=config)
        self._answered = False

    def pages(self, bucket: str, prefix: str, one_level: bool = False, most: int = PAGE) -> Iterator[Page]:
        """As `Client`'s."""
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": most}
        if one_level:
            asked["Delimiter"] = "/"
        while True:
            with _faults(f"s3://{bucket}/{prefix}"):
                try:
                    answer = self._patiently(partial(self._client.list_objects_v2, **asked))
                except ClientError as error:
                    if _code(error) == "NoSuchBucket" and "ContinuationToken" not in asked:
                        return
                    raise
            yield Page(
                [(found["Key"], found["Size"], found["ETag"]) for found in answer.get("Contents", ())],
                [found["Prefix"] for found in answer.get("CommonPrefixes", ())],
            )
            if not answer.get("IsTruncated"):
                return
            asked["ContinuationToken"] = answer["NextContinuationToken"]

    def read(self, bucket: str, key: str, version: str, first: int, last: int) -> bytes:
        """As `Client`'s."""
        address = f"s3://{bucket}/{key}"
        asked = {"Bucket": bucket, "Key": key, "IfMatch": version, "Range": f"bytes={first}-{last - 1}"}
        with _faults(address):
            try:
                return self._patiently(lambda: bytes(self._client.get_object(**asked)["Body"].read()))
            except ClientError as error:
                if _code(error) in ("NoSuchKey", "NoSuchBucket", "404"):
                    raise gone(address) from error
                if _code(error) in ("PreconditionFailed", "412", "InvalidRange", "416"):
                    raise changed(address) from error
                raise

    def _patiently(self, ask: Callable[[], T]) -> T:
        for wait in _WAITS if self._answered else ():
            try:
                return ask()
            except (BotoCoreError, HTTPClientError, ClientError, OSError) as error:
                if not _may_pass(error):
                    raise
                time.sleep(wait)
        answer = ask()
        self._answered = True
        return answer


def _may_pass(error: Exception) -> bool:
    """Whether another try may succeed: a service that is too busy or breaks, a connection that does."""
    if isinstance(error, ClientError):
        return _status(error) >= 500 or _status(error) == 429
    return not isinstance(error, _CREDENTIALS)


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _faults(address: str) -> Iterator[None]:
    try:
        yield
    except _CREDENTIALS as error:
        raise fault(address, f"there are no credentials for it ({error})", f"give them {_HOME}") from error
    except ClientError as error:
        code, status = _code(error), _status(error)
        if code in _REFUSED:
            raise fault(address, f"the credentials are refused ({code})", f"renew them {_HOME}") from error
        if status in (401, 403):
            remedy = "give these credentials the right to list the bucket and to read what is in it"
            raise fault(address, f"it may not be read ({code})", remedy) from error
        if 300 <= status < 400:
            raise _elsewhere(address) from error
        cause = f"the server cannot answer ({code})"
        raise fault(address, cause, "wait until it can, or raise AWS_MAX_ATTEMPTS") from error
    except RecursionError as error:  # botocore asks for the bucket's region, is sent elsewhere, and so on
        raise _elsewhere(address) from error
    except (BotoCoreError, HTTPClientError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        cause = f"the server does not answer ({type(error).__name__}: {error})"
        raise fault(address, cause, "see that it runs and that AWS_ENDPOINT_URL, if set, names it") from error


def _elsewhere(address: str) -> BucketError:
    cause = "the server sends us elsewhere, which is not followed"
    return fault(address, cause, "set AWS_ENDPOINT_URL and AWS_REGION to the bucket's own")
