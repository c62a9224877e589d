"""Fluent Speech Commands: given out to who accepts its licence."""

from hares.downloads import Download, Part

DOWNLOAD = Download(
    room="19 hours: 2.2 GB as wav",
    source="",
    by_hand=(
        Part(
            "accept the licence on the home page, fetch the archive there and put it into fluent_speech_commands/, or "
            "the folders data/ and wavs/ that it holds",
            ("data/train_data.csv|*.tar.gz|*.zip",),
        ),
    ),
)
