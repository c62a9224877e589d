"""TUT Urban Acoustic Scenes 2018, the development set: a Zenodo record, whose address stands on the home page."""

from hares.downloads import Download, Part, RemoteFile

_NAME = "TUT-urban-acoustic-scenes-2018-development"
_ARCHIVES = (
    ("meta", 69_272, "e196065ee83c07af03a11a310364377d"),
    ("audio.1", 1_657_811_579, "62f97087c447e29def8716204469bf89"),
    ("audio.2", 1_783_489_370, "8e569a92025d82bff6b02b956d7c6dc9"),
    ("audio.3", 1_809_675_304, "00d2020582a4535af5e65322fb2bad56"),
    ("audio.4", 1_756_582_525, "d691eb4271f83ba6ba9a28797accc497"),
    ("audio.5", 1_724_002_546, "c4d64b5483b60f85e9fe080b3435a6be"),
    ("audio.6", 1_645_753_049, "2f0feee78f216697eb19497714d97642"),
    ("audio.7", 1_671_903_917, "07cfefe80a0731de6819181841239f3a"),
    ("audio.8", 1_673_304_843, "213f3c012859c2e9dcb74aacc8558458"),
    ("audio.9", 1_674_839_259, "b724442b09abcb3bd095ebff497cef85"),
    ("audio.10", 1_662_932_947, "a27a32fa52e283ed8013375b8a16f269"),
    ("audio.11", 1_751_473_843, "7073a121e825ffef99832507f30d6644"),
    ("audio.12", 1_742_332_198, "6567aa61db12776568b6267ce122fb18"),
    ("audio.13", 798_990_513, "d00eeb2db0e093d8975521323a96c519"),
)

DOWNLOAD = Download(
    room="21 GB, and 25 GB unpacked",
    source="sizes and digests: dcase_util, the authors' own package",
    files=tuple(RemoteFile(f"{_NAME}.{name}.zip", size=size, md5=md5) for name, size, md5 in _ARCHIVES),
    by_hand=(
        Part(
            "from the data set's record, which the home page links under Download, put "
            f"{_NAME}.meta.zip and .audio.1.zip to .audio.13.zip into tut18/",
            tuple(
                f"{_NAME}.{name}.zip|{'meta.csv' if name == 'meta' else 'audio'}" for name, *_ in _ARCHIVES
            ),
        ),
    ),
    note="The paper's split is the authors' own list, authors_split.csv: docs/data.md says where it is.",
)
