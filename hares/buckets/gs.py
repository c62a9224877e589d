"""Google Cloud Storage by its own library: credentials are the application default ones, as it finds them.

`gcloud auth application-default login`, GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account;
STORAGE_EMULATOR_HOST names another server, which gets none. The library's own retries wait longer from try to try, and
resume an answer that breaks off.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    NotFound,
    RetryError,
    Unauthorized,
)
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY

from hares.buckets.client import CONNECT_SECONDS, CONNECTIONS, PAGE, READ_SECONDS, Page, changed, fault, gone

_FIRST_PATIENCE, _PATIENCE = 8.0, 60.0  # seconds of retries before and after the first answer
_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds after answers that break off
_TIMEOUT = (CONNECT_SECONDS, READ_SECONDS)
_LISTED = "items(name,size,generation),prefixes,nextPageToken"
_HOME = "with 'gcloud auth application-default login' or GOOGLE_APPLICATION_CREDENTIALS"


class GoogleStorage:
    """See `hares.buckets.client.Client`."""

    def __init__(self) -> None:
        with _faults("gs://"):
            # A project is needed to make buckets, not to read them; without one the library looks for it, and fails.
            self._client = Client(project="none")
            session = self._client._http
        session.max_redirects = 0
        for scheme in ("https://", "http://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._retry = DEFAULT_RETRY.with_timeout(_FIRST_PATIENCE)

    def pages(self, bucket: str, prefix: str, one_level: bool = False, most: int = PAGE) -> Iterator[Page]:
        """As `Client`'s."""
        token = None
        while True:
            with _faults(f"gs://{bucket}/{prefix}"):
                try:
                    page, token = self._page(bucket, prefix, "/" if one_level else None, most, token)
                except NotFound:
                    if token is None:
                        return
                    raise
            yield page
            if token is None:
                return

    def _page(
        self, bucket: str, prefix: str, delimiter: str | None, most: int, token: str | None
    ) -> tuple[Page, str | None]:
        """A page and the token of the next; one whose text breaks off is asked for again."""
        for wait in _WAITS:
            listing = self._client.list_blobs(
                bucket, prefix=prefix, delimiter=delimiter, page_token=token, fields=_LISTED, page_size=most,
                retry=self._retry, timeout=_TIMEOUT,
            )  # fmt: skip
            try:
                found = next(listing.pages, None)
            except requests.exceptions.JSONDecodeError:
                time.sleep(wait)
                continue
            self._retry = DEFAULT_RETRY.with_timeout(_PATIENCE)
            objects = [(blob.name, int(blob.size), str(blob.generation)) for blob in found or ()]
            return Page(objects, list(found.prefixes) if found else []), listing.next_page_token
        raise requests.ConnectionError("its answers break off")

    def read(self, bucket: str, key: str, version: str, first: int, last: int) -> bytes:
        """As `Client`'s; an answer that breaks off is tried again: not every version of the libraries sees that."""
        address = f"gs://{bucket}/{key}"
        blob = self._client.bucket(bucket).blob(key, generation=int(version))
        with _faults(address):
            for wait in _WAITS:
                try:
                    data: bytes = blob.download_as_bytes(
                        start=first, end=last - 1, raw_download=True, checksum=None, retry=self._retry, timeout=_TIMEOUT
                    )  # fmt: skip
                except NotFound as error:
                    is_there = (
                        self._client.bucket(bucket).blob(key).exists(retry=self._retry, timeout=_TIMEOUT)
                    )
                    raise changed(address) if is_there else gone(address) from error
                self._retry = DEFAULT_RETRY.with_timeout(_PATIENCE)
                if len(data) == last - first:
                    return data
                time.sleep(wait)
            raise requests.ConnectionError("its answers break off")


@contextmanager
def _faults(address: str) -> Iterator[None]:
    try:
        yield
    except DefaultCredentialsError as error:
        raise fault(address, "there are no credentials for it", f"give them {_HOME}") from error
    except (GoogleAuthError, Unauthorized) as error:
        cause = f"the credentials are refused ({type(error).__name__})"
        raise fault(address, cause, f"renew them {_HOME}") from error
    except Forbidden as error:
        remedy = "give these credentials the right to list the bucket and to read what is in it"
        raise fault(address, "it may not be read (403)", remedy) from error
    except requests.TooManyRedirects as error:
        cause = "the server sends us elsewhere, which is not followed"
        raise fault(
            address, cause, "see that STORAGE_EMULATOR_HOST, if set, names the server itself"
        ) from error
    except (GoogleAPICallError, RetryError, requests.RequestException) as error:
        told = error.cause if isinstance(error, RetryError) and error.cause else error
        cause = f"the server does not answer as it should ({type(told).__name__}: {str(told)[:200]})"
        remedy = "see that it can be reached, and that STORAGE_EMULATOR_HOST, if set, names it"
        raise fault(address, cause, remedy) from error
