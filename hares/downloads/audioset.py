"""AudioSet: Google gives out lists of segments; the sound is in videos that each has to get for himself."""

from hares.downloads import Download, Part

DOWNLOAD = Download(
    room="5,800 hours in 2.1 million clips: 0.7 TB as 16 kHz wav; 14 GB without the unbalanced training set",
    source="",
    by_hand=(
        Part(
            "from the home page's Download, put eval_segments.csv, balanced_train_segments.csv and (for the paper's "
            "protocol) unbalanced_train_segments.csv into audioset/",
            ("eval_segments.csv", "balanced_train_segments.csv"),
        ),
        Part(
            "get the segments' sound, which Google does not give out, in any form that docs/data.md names (a "
            "downloader's folders, Hugging Face's Parquet), and put it below audioset/audio/",
            ("audio/*|audios/*|*.parquet|*/*.parquet",),
        ),
    ),
)
