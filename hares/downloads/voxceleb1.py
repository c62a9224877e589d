"""VoxCeleb1: the list of the identification split is open; the recordings are given out on request."""

from hares.downloads import Download, Part, RemoteFile

DOWNLOAD = Download(
    room="350 hours: 40 GB as wav",
    source="TensorFlow Datasets' voxceleb",
    files=(
        RemoteFile(
            "iden_split.txt",
            "http://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/iden_split.txt",
            4_912_512,
            "3c1d792d4058861cd476a27cc942c824f7e9df812864115a7c2b12df97edfbbf",
        ),
    ),
    by_hand=(
        Part(
            "ask for access by the form on the home page; join the parts of the development set "
            "(cat vox1_dev* > vox1_dev_wav.zip) and put vox1_dev_wav.zip and vox1_test_wav.zip into voxceleb1/",
            tuple(f"vox1_{part}_wav.zip|vox1_{part}_wav|{part}/wav|wav" for part in ("dev", "test")),
        ),
    ),
)
