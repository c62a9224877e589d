"""S3, and what speaks its protocol (MinIO, Ceph), by botocore: endpoint, region and credentials are as it finds them.

That is in the environment (AWS_ENDPOINT_URL, AWS_PROFILE, ...), in ~/.aws, or from the machine's own role. Its
"standard" retries wait longer from try to try, also where the service says that it is too busy (503 SlowDown). They
apply unless AWS_MAX_ATTEMPTS or the profile's max_attempts says otherwise. Until a service has answered once there are
few of them: a wrong endpoint is found in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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

_FIRST_TRIES, _TRIES = 3, 7
_LONGEST_WAIT = 20.0  # seconds, as botocore's own
_REFUSED = (
    *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidToken"),
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "UnrecognizedClientException"),
)
_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)
_HOME = "in the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, ...) or in ~/.aws"


class S3:
    """See `hares.buckets.client.Client`."""

    def __init__(self) -> None:
        self._session = botocore.session.get_session()
        self._given = self._session.get_config_variable("max_attempts") is not None
        self._client = self._made(_FIRST_TRIES)
        self._answered = False

    def _made(self, tries: int) -> Any:
        retries = {} if self._given else {"retries": {"mode": "standard", "total_max_attempts": tries}}
        config = Config(
            max_pool_connections=CONNECTIONS,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            **retries,
        )
        with _faults("s3://"):
            return self._session.create_client("s3", config=config)

    def pages(self, bucket: str, prefix: str, one_level: bool = False, most: int = PAGE) -> Iterator[Page]:
        """As `Client`'s."""
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": most}
        if one_level:
            asked["Delimiter"] = "/"
        while True:
            with _faults(f"s3://{bucket}/{prefix}"):
                try:
                    answer = self._client.list_objects_v2(**asked)
                except ClientError as error:
                    if _code(error) == "NoSuchBucket":
                        return
                    raise
            self._has_answered()
            yield Page(
                [(found["Key"], found["Size"], found["ETag"]) for found in answer.get("Contents", ())],
                [found["Prefix"] for found in answer.get("CommonPrefixes", ())],
            )
            if not answer.get("IsTruncated"):
                return
            asked["ContinuationToken"] = answer["NextContinuationToken"]

    def read(self, bucket: str, key: str, version: str, first: int, last: int) -> bytes:
        """As `Client`'s; a connection that breaks inside an answer is tried again, which botocore does not do."""
        address = f"s3://{bucket}/{key}"
        for tried in range(1, _TRIES + 1):
            with _faults(address):
                try:
                    answer = self._client.get_object(
                        Bucket=bucket, Key=key, IfMatch=version, Range=f"bytes={first}-{last - 1}"
                    )
                    self._has_answered()
                except ClientError as error:
                    if _code(error) in ("NoSuchKey", "NoSuchBucket", "404"):
                        raise gone(address) from error
                    if _code(error) in ("PreconditionFailed", "412", "InvalidRange", "416"):
                        raise changed(address) from error
                    raise
                try:
                    data: bytes = answer["Body"].read()
                    return data
                except (BotoCoreError, OSError):
                    if tried == _TRIES:
                        raise
            time.sleep(min(2.0**tried / 2, _LONGEST_WAIT))
        raise AssertionError("the last try returns or raises")

    def _has_answered(self) -> None:
        if not self._answered:
            self._answered, self._client = True, self._made(_TRIES)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _faults(address: str) -> Iterator[None]:
    try:
        yield
    except _CREDENTIALS as error:
        raise fault(address, f"there are no credentials for it ({error})", f"give them {_HOME}") from error
    except ClientError as error:
        code, status = _code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _REFUSED:
            raise fault(address, f"the credentials are refused ({code})", f"renew them {_HOME}") from error
        if status in (401, 403):
            remedy = "give these credentials the right to list the bucket and to read what is in it"
            raise fault(address, f"it may not be read ({code})", remedy) from error
        if 300 <= status < 400:
            raise _elsewhere(address) from error
        cause = f"the server cannot answer ({code})"
        raise fault(address, cause, "wait until it can, or raise AWS_MAX_ATTEMPTS") from error
    except (
        RecursionError
    ) as error:  # botocore asks for the bucket's region, is sent elsewhere again, and so on
        raise _elsewhere(address) from error
    except (BotoCoreError, HTTPClientError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        cause = f"the server does not answer ({type(error).__name__}: {error})"
        raise fault(address, cause, "see that it runs and that AWS_ENDPOINT_URL, if set, names it") from error


def _elsewhere(address: str) -> BucketError:
    cause = "the server sends us elsewhere, which is not followed"
    return fault(address, cause, "set AWS_ENDPOINT_URL and AWS_REGION to the bucket's own")
