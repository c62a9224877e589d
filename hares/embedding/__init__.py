"""From clips to embeddings, each computed once.

- `task_embeddings`: the embeddings of a task's clips, in memory and as files.
- `encoding`: the pass of a frozen encoder over a shard of clips.
- `cache`: shards found again by what made them.
- `collector`: a task's shards put together in bounded memory.
- `task_embedder`: all of a task's embeddings and its manifest, as `hares evaluate` reads them.
"""
