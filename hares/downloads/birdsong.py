"""Birdsong: the three development sets of DCASE 2018 task 3, whose addresses stand on the task's page."""

from hares.downloads import Download, Part, RemoteFile

_LABELS = (
    "ff1010bird_metadata_2018.csv",
    "warblrb10k_public_metadata_2018.csv",
    "BirdVoxDCASE20k_csvpublic.csv",
)

DOWNLOAD = Download(
    room="25 GB, and as much again unpacked",
    source="",
    files=(
        *map(RemoteFile, _LABELS),
        *map(RemoteFile, ("ff1010bird_wav.zip", "warblrb10k_public_wav.zip", "BirdVox-DCASE-20k.zip")),
    ),
    by_hand=(
        Part(
            "from the home page's Download, put the data labels of the three development sets "
            f"({', '.join(_LABELS)}) into birdsong/",
            _LABELS,
        ),
        Part(
            "from the same place, put ff1010bird_wav.zip, warblrb10k_public_wav.zip and BirdVox-DCASE-20k.zip into "
            "birdsong/",
            (
                "ff1010bird_wav.zip|ff1010bird_wav|ff1010bird",
                "warblrb10k_public_wav.zip|warblrb10k_public_wav|warblrb10k",
                "BirdVox-DCASE-20k.zip|BirdVox-DCASE-20k",
            ),
        ),
    ),
    note="The paper's split is the authors' own list, authors_split.csv: docs/data.md says where it is.",
)
