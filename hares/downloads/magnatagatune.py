"""MagnaTagATune: a table of tags, and an archive in three parts."""

from hares.downloads import Download, Part, RemoteFile

DOWNLOAD = Download(
    room="3 GB, and as much again unpacked",
    source="",
    files=(RemoteFile("annotations_final.csv"), RemoteFile("mp3.zip")),
    by_hand=(
        Part(
            "from the home page, put annotations_final.csv into magnatagatune/",
            ("annotations_final.csv",),
        ),
        Part(
            "from the same place fetch mp3.zip.001, mp3.zip.002 and mp3.zip.003, join them (cat mp3.zip.00? > mp3.zip) "
            "and put mp3.zip into magnatagatune/",
            ("mp3.zip|0",),
        ),
    ),
)
