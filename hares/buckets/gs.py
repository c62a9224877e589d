"""Google Cloud Storage by its own library: credentials are the application default ones, as it finds them.

`gcloud auth application-default login`, GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account;
STORAGE_EMULATOR_HOST names another server, which gets none. The library's own retries wait longer from try to try, and
resume an answer that breaks off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RequestRangeNotSatisfiable,
    RetryError,
    Unauthorized,
)
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY

from hares.buckets.client import CONNECT_SECONDS, CONNECTIONS, PAGE, READ_SECONDS, Page, changed, fault, gone

_FIRST_PATIENCE, _PATIENCE = 8.0, 60.0  # seconds of retries before and after the first answer
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
        with _faults(f"gs://{bucket}/{prefix}"):
            listing = self._client.list_blobs(
                bucket, prefix=prefix, delimiter="/" if one_level else None, fields=_LISTED, page_size=most,
                retry=self._retry, timeout=_TIMEOUT,
            )  # fmt: skip
            pages = listing.pages
        while True:
            with _faults(f"gs://{bucket}/{prefix}"):
                try:
                    page = next(pages, None)
                except NotFound:
                    return
                if page is None:
                    return
                objects = [(blob.name, int(blob.size), str(blob.generation)) for blob in page]
            self._retry = DEFAULT_RETRY.with_timeout(_PATIENCE)
            yield Page(objects, list(page.prefixes))

    def read(self, bucket: str, key: str, version: str, first: int, last: int) -> bytes:
        """As `Client`'s."""
        address = f"gs://{bucket}/{key}"
        with _faults(address):
            blob = self._client.bucket(bucket).blob(key)
            try:
                data: bytes = blob.download_as_bytes(
                    start=first, end=last - 1, raw_download=True, if_generation_match=int(version), checksum=None,
                    retry=self._retry, timeout=_TIMEOUT,
                )  # fmt: skip
            except NotFound as error:
                raise gone(address) from error
            except (PreconditionFailed, RequestRangeNotSatisfiable) as error:
                raise changed(address) from error
        self._retry = DEFAULT_RETRY.with_timeout(_PATIENCE)
        return data


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
