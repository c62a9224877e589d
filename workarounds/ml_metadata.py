"""ML Metadata, tried on 1.15: a `MetadataStore` with workarounds for two bugs that show only on PostgreSQL.

Look-ups by id answer in the order of the rows, while callers pair the answers with the ids they gave; TFX's cache does
so with the outputs of an earlier execution. SQLite and MySQL return rows by id, PostgreSQL does not, so a cached step's
`examples` and `manifest` changed places. Unnecessary when ML Metadata orders its answers.

On PostgreSQL a text with a backslash breaks its statement. libpq quotes such a text as ` E'...'`, ML Metadata cuts off
the first and last character as if they were the quotes, and puts the rest between quotes of its own. The server refuses
the statement, or reads a file's name as SQL. It happens whenever a step's inputs cannot be resolved: TFX records the
traceback as JSON, which has a backslash for each line end. Unnecessary when ML Metadata passes parameters to libpq.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

# In the tables of a PostgreSQL store. A character of no script, so no text of a run has it.
BACKSLASH = "\ue05c"


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
    """Replaces a text in every string that a message holds, keys of its maps included.

    Filter queries are left alone: a backslash in one is its own language's, and no text of the store.
    """
    for field, value in message.ListFields():
        if field.name == "filter_query":
            continue
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
