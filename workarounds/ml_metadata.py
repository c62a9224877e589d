"""ML Metadata, tried on 1.15: listings by page, and a `MetadataStore` without two bugs that show only on PostgreSQL.

Look-ups by id answer in the order of the rows, while callers pair the answers with the ids they gave; TFX's cache does
so with the outputs of an earlier execution. SQLite and MySQL return rows by id, PostgreSQL does not, so a cached step's
`examples` and `manifest` changed places. Unnecessary when ML Metadata orders its answers.

On PostgreSQL a text with a backslash breaks its statement. libpq quotes such a text as ` E'...'`, ML Metadata cuts off
the first and last character as if they were the quotes, and puts the rest between quotes of its own. The server refuses
the statement, or reads a file's name as SQL. It happens whenever a step's inputs cannot be resolved: TFX records the
traceback as JSON, which has a backslash for each line end. Unnecessary when ML Metadata passes parameters to libpq.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, count
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore, OrderByField
from ml_metadata.proto import metadata_store_pb2 as pb
from ml_metadata.proto import metadata_store_service_pb2 as service

# In the tables of a PostgreSQL store. A character of no script, so no text of a run has it.
BACKSLASH = "\ue05c"
_PAGE = 100  # ML Metadata's limit of nodes on a page
_PAGES = 5  # of a type or context, then the rest


def pages(
    store: MetadataStore,
    kind: str,
    of_type: str = "",
    in_context: int = 0,
    newest_first: bool = False,
    size: int = _PAGE,
) -> Iterator[list[Any]]:
    """Nodes of a store in the order of their ids, a page at a time.

    The service answers so, but the client asks for everything before it returns the first node. For each page of a type
    or of a context the service selects all of its ids anew, which takes a quarter of an hour for the pages of 300,000
    executions. So after a few pages the rest comes as one. Unnecessary when the client's listings are iterators.

    Args:
        store: the store.
        kind: "artifact", "execution" or "context".
        of_type: a type's name; "" for nodes of all types.
        in_context: id of a context, instead of a type; 0 for nodes of all contexts.
        newest_first: whether the highest id comes first.
        size: nodes on a page, at most 100.
    """
    name = f"Get{kind.capitalize()}s{'ByType' if of_type else 'ByContext' if in_context else ''}"
    request = getattr(service, f"{name}Request")()
    if of_type:
        request.type_name = of_type
    elif in_context:
        request.context_id = in_context
    request.options.max_result_size = size
    request.options.order_by_field.field = OrderByField.ID.value
    request.options.order_by_field.is_asc = not newest_first
    last = 0
    for number in count(1):
        response = getattr(service, f"{name}Response")()
        try:
            store._call(name, request, response)
        except errors.NotFoundError:  # what it says of a type without nodes
            return
        page = list(getattr(response, f"{kind}s"))
        if not request.HasField("options"):
            rest = (node for node in page if (node.id < last if newest_first else node.id > last))
            yield sorted(rest, key=lambda node: node.id, reverse=newest_first)
            return
        yield page
        if not response.next_page_token:
            return
        last = page[-1].id
        if number == _PAGES and (of_type or in_context):
            request.ClearField("options")
        else:
            request.options.next_page_token = response.next_page_token


def nodes(
    store: MetadataStore, kind: str, of_type: str = "", in_context: int = 0, newest_first: bool = False
) -> Iterator[Any]:
    """As `pages`, one node after the other."""
    return chain.from_iterable(pages(store, kind, of_type, in_context, newest_first))


class PatchedStore(MetadataStore):
    """A `MetadataStore` that answers in the order of the ids it is given and keeps every text as it is."""

    def __init__(self, config: pb.ConnectionConfig | pb.MetadataStoreClientConfig):
        self._replaces = isinstance(config, pb.ConnectionConfig) and config.HasField("postgresql")
        super().__init__(config)

    def get_artifacts_by_id(
        self, artifact_ids: Iterable[int], extra_options: Any = None
    ) -> list[pb.Artifact]:
        """The artifacts in the order of the ids, each once; unknown ids are left out."""
        ids = list(dict.fromkeys(artifact_ids))
        return _in_order(ids, super().get_artifacts_by_id(ids, extra_options))

    def get_artifact_types_by_id(
        self, type_ids: Iterable[int], extra_options: Any = None
    ) -> list[pb.ArtifactType]:
        """One type for each id, in their order; unknown ids are left out."""
        ids = list(type_ids)
        return _in_order(ids, super().get_artifact_types_by_id(ids, extra_options))

    def _call(self, method_name: str, request: Message, response: Message, extra_options: Any = None) -> None:
        if not self._replaces:
            super()._call(method_name, request, response, extra_options)
            return
        if b"\\" in request.SerializeToString():  # looked for there, as walking a message takes longer
            given, request = request, type(request)()
            request.CopyFrom(given)
            replace_in(request, "\\", BACKSLASH)
        super()._call(method_name, request, response, extra_options)
        if BACKSLASH.encode() in response.SerializeToString():
            replace_in(response, BACKSLASH, "\\")


def _in_order(ids: list[int], answers: list[Any]) -> list[Any]:
    found = {answer.id: answer for answer in answers}
    return [found[asked] for asked in ids if asked in found]


def replace_in(message: Message, old: str, new: str) -> None:
    """Replaces a text in every string that a message holds, keys of its maps included."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _replace_in_map(field.message_type.fields_by_name["value"], value, old, new)
        elif field.message_type is not None:
            for part in value if field.label == FieldDescriptor.LABEL_REPEATED else [value]:
                replace_in(part, old, new)
        elif field.type == FieldDescriptor.TYPE_STRING:
            if field.label == FieldDescriptor.LABEL_REPEATED:
                value[:] = [text.replace(old, new) for text in value]
            elif old in value:
                setattr(message, field.name, value.replace(old, new))


def _replace_in_map(field: FieldDescriptor, values: Any, old: str, new: str) -> None:
    for key in list(values):
        renamed = key.replace(old, new) if isinstance(key, str) else key
        if field.message_type is not None:
            replace_in(values[key], old, new)
            if renamed != key:
                values[renamed].CopyFrom(values[key])
        elif field.type == FieldDescriptor.TYPE_STRING:
            values[renamed] = values[key].replace(old, new)
        elif renamed != key:
            values[renamed] = values[key]
        if renamed != key:
            del values[key]
